"""Sphinx extension: the docstrings of the package as reStructuredText.

They are plain text, written to be read by help(): formulas with `*` and `_` in them, and arguments in aligned columns,

    labels  (...) class indices          axis  of the classes
            ignore_index is allowed

which become a list of parameters. Names of public functions become links, an indented block stays as it is. Docstrings
with sections of numpydoc's, those inherited from other libraries, are left to numpydoc.
"""

import inspect
import re
import sys

from docutils import nodes
from sphinx import addnodes

NAMES = r"[A-Za-z_]\w*(?:, [A-Za-z_]\w*)*"
ENTRY = re.compile(rf"({NAMES})(\s{{2,}})(?=\S)")
BESIDE = re.compile(rf"\s{{2,}}({NAMES})(\s+)(?=\S)")  # a second entry further right in the same line
FIELDS = {"entropy"}  # of results: as a name it might be the function's or theirs
SECTION = re.compile(r"^-{3,}$", re.MULTILINE)
WORD = re.compile(r"(``?[^`]+``?)|(?<![\w.])((?:fastsoftmax\.)?[A-Za-z]\w*)|([*_|\\])")


def entries_of(line):
    """[[names, text, column of the names]] of a line of an argument block; [] of any other line."""
    first = ENTRY.match(line)
    if not first:
        return []
    second = BESIDE.search(line, first.end())
    if not second:
        return [[first[1], line[first.end():], 0]]
    return [[first[1], line[first.end():second.start()], 0], [second[1], line[second.end():], second.start(1)]]


def blocks_of(text):
    """[(kind, content)]: "prose" and its text, "literal" and its lines, "entries" and [[names, text, column]]."""
    blocks = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.split("\n")
        if all(line.startswith("    ") for line in lines):
            blocks.append(("literal", lines))
            continue
        kind = None  # of the last block, where this paragraph has begun it
        for line in lines:
            found = entries_of(line)
            if found:
                if kind != "entries":
                    blocks.append(("entries", []))
                blocks[-1][1].extend(found)
                kind, last = "entries", found
            elif kind == "entries" and line.startswith("  "):
                indent = len(line) - len(line.lstrip())
                below = next(entry for entry in reversed(last) if entry[2] <= indent)
                below[1] += (" " if below is last[-1] else "; ") + line.strip()
            elif kind == "prose":
                blocks[-1] = ("prose", blocks[-1][1] + " " + line.strip())
            else:
                blocks.append(("prose", line.strip()))
                kind = "prose"
    return blocks


def marked_up(text, link):
    """The text with `code` as such, links where link(word) knows one, and nothing else that reStructuredText would see."""

    def replacement(match):
        code, word, special = match.groups()
        if code:
            return f"``{code.strip('`')}``" + "\\ " * (match.string[match.end():match.end() + 1].isalnum())
        if special:
            return "\\" + special
        if target := link(word):
            return f":py:obj:`{word} <{target}>`\\ "
        return word.replace("_", r"\_")

    return re.sub(r"\\ (?=[\s.,;:)]|$)", "", WORD.sub(replacement, text))


def rendered(text, link=lambda word: None, parameters=()):
    """Lines of reStructuredText for a docstring of the house."""
    lines = []
    for kind, content in blocks_of(text):
        if kind == "literal":
            lines += ["::", "", *content]
        elif kind == "prose":
            lines.append(marked_up(content, link))
        else:
            ours = any(name in parameters for names, *_ in content for name in names.split(", "))
            lines += [":Parameters:" if ours else ":Attributes:", ""]
            for names, description, _ in content:
                lines += [f"    **{marked_up(names, lambda word: None)}**", f"        {marked_up(description, link)}", ""]
        lines.append("")
    return lines


def linker(thing, name):
    """link(word) -> the full name of the public object that the word names in the docstring of `thing`, or None."""
    door = name.split(".")[1]
    known = parameters_of(thing)

    def link(word):
        is_a_name = "_" in word.strip("_") or re.search("[a-z][A-Z]", word)  # words like "softmax" are in formulas
        if not is_a_name or word in known or name.endswith("." + word):
            return None
        return public(word, door)

    return link


def public(word, door=""):
    """The full name of what is called `word` in fastsoftmax.door, where there is such a module, or in fastsoftmax."""
    short = word.removeprefix("fastsoftmax.").removeprefix("fs.")
    for module in (f"fastsoftmax.{door}",) * (short == word) + ("fastsoftmax",):
        if callable(getattr(sys.modules.get(module), short, None)):
            return f"{module}.{short}"
    return None


def parameters_of(thing):
    """The names of what may be called's parameters."""
    try:
        return frozenset(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return frozenset()


def process(app, what, name, thing, options, lines):
    """In place, before numpydoc: autodoc's event."""
    if what == "data" and inspect.getdoc(thing) == inspect.getdoc(type(thing)):  # of an alias: str's, say
        lines.clear()
    text = re.sub(r"\A\[\d\] ", "", "\n".join(lines))  # a module's floor
    if not SECTION.search(text):
        lines[:] = rendered(text, linker(thing, name), parameters_of(thing))


def link_code(app, doctree):
    """In pages, `names` of public functions and classes become links: Sphinx's event."""
    door = app.env.docname.rpartition("/")[2]
    for code in list(doctree.findall(nodes.literal)):
        target = code.astext() not in FIELDS and public(code.astext(), door)
        if target and not isinstance(code.parent, (nodes.reference, nodes.title, addnodes.pending_xref)):
            link = addnodes.pending_xref("", refdomain="py", reftype="obj", reftarget=target, refdoc=app.env.docname)
            code.replace_self(link)
            link += code


def setup(app):
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("doctree-read", link_code)
    return {"parallel_read_safe": True}
