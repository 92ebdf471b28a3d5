"""The pages' examples run and print what they say; the reference has every public name; release files agree."""

import ast
import doctest
import importlib.util
import re
import sys
from pathlib import Path

import pytest

import fastsoftmax as fs

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# ```python is run, ```pycon is compared with what it prints, page by page in one namespace
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted(DOCS.glob("*.md")) if BLOCK.search(page.read_text())]
DOORS = {"jax": "jax", "numba": "numba", "sklearn": "sklearn", "torch": "torch"}


def blocks(page):
    """[(line, language, code)] of those that are to be run."""
    text = page.read_text()
    return [(text.count("\n", 0, found.start(3)), found[2], found[3]) for found in BLOCK.finditer(text) if not found[1]]


def imported(code):
    """The top-level packages beside Python's own that the code imports, also by a door: fastsoftmax.torch needs torch."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    doors = {DOORS[name.split(".")[1]] for name in names if name.startswith("fastsoftmax.") and name.split(".")[1] in DOORS}
    return doors | {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"fastsoftmax"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page):
    for _, language, code in blocks(page):
        for name in sorted(imported(code) if language == "python" else ()):
            pytest.importorskip(name)
    namespace = {"__name__": "__main__"}
    for line, language, code in blocks(page):
        if language == "python":
            exec(compile("\n" * line + code, str(page), "exec"), namespace)
        else:
            test = doctest.DocTestParser().get_doctest(code, namespace, page.name, str(page), line)
            wrong = []
            doctest.DocTestRunner().run(test, out=wrong.append, clear_globs=False)
            assert not wrong, "".join(wrong)
            namespace.update(test.globs)


def documented(page):
    """The names in a page of the reference; modules aside, which have dots."""
    return set(re.findall(r"^\.\. auto\w+:: (\w+)$", (DOCS / "reference" / f"{page}.md").read_text(), re.MULTILINE))


def public(module):
    """The names of what the package has written."""
    ours = {name for name, thing in vars(module).items() if getattr(thing, "__module__", "").startswith("fastsoftmax")}
    return {name for name in ours if not name.startswith("_")}


def test_the_reference_has_every_public_name():
    assert documented("functions") == public(fs)


@pytest.mark.parametrize("door", DOORS)
def test_the_reference_has_every_name_of_a_door(door):
    pytest.importorskip(DOORS[door])
    assert documented(door) == public(importlib.import_module(f"fastsoftmax.{door}"))


def test_the_reference_has_the_optimizers():
    assert documented("optim") == public(fs.optim)


# The docstrings of the house, as Sphinx gets them.

DOCSTRING = """log softmax(x)[y], by `axis`: p*q of one_hot and other_name.

x     (..., n) floats          y, z   (...) indices
      negative ones too
axis  of the classes, or
      none at all
The other arguments are those of other_name.

    a formula_ * |x|

Raises nothing.
"""


RENDERED = r"""log softmax(x)[y], by ``axis``: p\*q of one\_hot and :py:obj:`other_name <package.other_name>`.

:Parameters:

    **x**
        (..., n) floats; negative ones too

    **y, z**
        (...) indices

    **axis**
        of the classes, or none at all


The other arguments are those of :py:obj:`other_name <package.other_name>`.

::

    a formula_ * |x|

Raises nothing.
"""


def test_docstrings_of_the_house():
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location("docstrings", DOCS / "docstrings.py")
    docstrings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docstrings)
    link = {"other_name": "package.other_name"}.get
    assert "\n".join(docstrings.rendered(DOCSTRING, link, {"x", "y", "axis"})) == RENDERED


def test_release_files_agree():
    changelog, citation = ((ROOT / name).read_text() for name in ("CHANGELOG.md", "CITATION.cff"))
    assert re.search(rf"^## \[?{re.escape(fs.__version__)}\b", changelog, re.MULTILINE)
    assert re.search(rf"^version: {re.escape(fs.__version__)}$", citation, re.MULTILINE)
