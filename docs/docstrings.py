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

NAMES = r"[A-Za-z_]\w*(?:, [A-Za-z_]\w*)*"
ENTRY = re.compile(rf"({NAMES})(\s{{2,}})(?=\S)")
BESIDE = re.compile(rf"\s{{2,}}({NAMES})(\s+)(?=\S)")  # a second entry further right in the same line
SECTION = re.compile(r"^-{3,}$", re.MULTILINE)
WORD = re.compile(r"(``?[^`]+``?)|(?<![\w.])((?:fastsoftmax\.)?[A-Za-z]\w*)|([*_|\\])")


def entries_of(line):
    """[(names, the column that their text begins at, text)] of a line of an argument block; [] of any other line."""
    first = ENTRY.match(line)
    if not first:
        return []
    at = first.end()
    second = BESIDE.search(line, at)
    if not second:
        return [(first[1], at, line[at:])]
    return [(first[1], at, line[at:second.start()]), (second[1], second.end(), line[second.end():])]


def blocks_of(text):
    """[(kind, content)]: "prose" and its text, "literal" and its lines, "entries" and [[names, column, text]]."""
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
                blocks[-1][1].extend(map(list, found))
                kind = "entries"
            elif kind == "entries" and line.startswith("  "):
                indent = len(line) - len(line.lstrip())
                entries = blocks[-1][1]
                below = next((e for e in reversed(entries[-2:]) if e[1] <= indent), entries[-1])
                below[2] += " " + line.strip()
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
            ours = any(name in parameters for names, _, _ in content for name in names.split(", "))
            lines += [":Parameters:" if ours else ":Attributes:", ""]
            for names, _, description in content:
                lines += [f"    **{marked_up(names, lambda word: None)}**", f"        {marked_up(description.strip(), link)}", ""]
        lines.append("")
    return lines


def linker(thing, name):
    """link(word) -> the full name of the public object that the word names in the docstring of `thing`, or None."""
    module = sys.modules.get(name.rpartition(".")[0]) or sys.modules["fastsoftmax"]
    while module.__name__.count(".") > 1:
        module = sys.modules[module.__name__.rpartition(".")[0]]
    known = parameters_of(thing)

    def link(word):
        short = word.removeprefix("fastsoftmax.")
        is_a_name = "_" in short.strip("_") or re.match("[A-Z][a-z]+[A-Z]", short)  # words like "softmax" are in formulas
        if not is_a_name or short in known or name.endswith("." + short):
            return None
        for place in (sys.modules["fastsoftmax"],) if short != word else (module, sys.modules["fastsoftmax"]):
            if callable(getattr(place, short, None)):
                return f"{place.__name__}.{short}"
        return None

    return link


def parameters_of(thing):
    """The names of what may be called's parameters."""
    try:
        return frozenset(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return frozenset()


def process(app, what, name, thing, options, lines):
    """In place, before numpydoc: autodoc's event."""
    text = "\n".join(lines)
    if not SECTION.search(text):
        lines[:] = rendered(text, linker(thing, name), parameters_of(thing))


def setup(app):
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True}
