"""The site: sphinx-build -W --keep-going -b html docs docs/_build, with what the extra `docs` brings."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import fastsoftmax

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

project = "fastsoftmax"
author = "The fastsoftmax developers"
copyright = author
version = release = fastsoftmax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "numpydoc"]
exclude_patterns = ["_build"]

# A framework's own page is read anywhere; its reference needs the framework.
DOORS = {"jax": "jax", "numba": "numba", "sklearn": "sklearn", "torch": "torch"}
exclude_patterns += [f"reference/{door}.md" for door, framework in DOORS.items()
                     if not (find_spec(f"fastsoftmax.{door}") and find_spec(framework))]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
highlight_language = "text"  # of blocks that say nothing: formulas
smartquotes = False  # quotation marks are values here: "mean"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the text has shapes and dtypes, which types do not know
python_display_short_literal_types = True
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"fastsoftmax {release}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]


def as_the_site_has_it(app, docname, source):
    """Pages are read in the repository too: where a link leaves docs/, it goes to what the site has of it."""
    source[0] = source[0].replace("](../README.md)", f"]({'../' * docname.count('/')}guide.md)")
    absent = [name for name in re.findall(r"^([a-z-]+)\*$", source[0], re.MULTILINE) if not list(HERE.glob(f"{name}*"))]
    for name in absent:  # a toctree's pattern
        source[0] = source[0].replace(f"\n{name}*\n", "\n")


def setup(app):
    app.connect("source-read", as_the_site_has_it)
