"""Puts measured figures into a text: python -m fastsoftmax.bench.readme RESULTS_FOLDER README.md.

What stands between <!-- bench:begin --> and <!-- bench:end --> is replaced by what results.json in the folder says, in
short; the whole goes to docs/speed.md beside the text, the plots to docs/images/. Between <!-- accuracy:begin --> and
<!-- accuracy:end --> stands what accuracy.json says, the whole in docs/accuracy.md. A folder may hold either or both.
"""

import argparse
import json
import os
import shutil
import sys

from . import accuracy, compare, report
from .plots import PICTURES
from .session import CommandError, make_folder, replace

DOCS, IMAGES = "docs", "images"
SHOWN = ("time.png", "memory.png")  # of the plots, in the README itself


def rewrite(folder, path):
    """Rewrite the parts of the text at `path` that the folder has figures for -> their names."""
    blocks = {}
    if os.path.exists(os.path.join(folder, "results.json")):
        blocks["bench"] = _bench(folder, os.path.dirname(path))
    if os.path.exists(os.path.join(folder, "accuracy.json")):
        with open(os.path.join(folder, "accuracy.json"), encoding="utf-8") as file:
            blocks["accuracy"] = _accuracy(json.load(file), os.path.dirname(path))
    if not blocks:
        raise CommandError(f"{folder} has neither results.json nor accuracy.json")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    for name, block in blocks.items():
        text = replace_block(text, name, block, path)
    replace(path, text)
    return list(blocks)


def replace_block(text, name, block, path="the text"):
    """The text with a new block between its two markers of this name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise CommandError(f"{path} must have {begin} once, and {end} once after it")
    return f"{text[:text.index(begin)]}{begin}\n\n{block}\n\n{text[text.index(end):]}"


def _bench(folder, beside):
    results = compare.load(os.path.join(folder, "results.json"))
    if results["status"] != "complete":
        raise CommandError(f"the run in {folder} is {results['status']}: a README takes whole ones")
    images = os.path.join(beside, DOCS, IMAGES)
    make_folder(images)
    drawn = [(name, title) for name, title, _ in PICTURES if os.path.exists(os.path.join(folder, name))]
    for name, _ in drawn:
        shutil.copyfile(os.path.join(folder, name), os.path.join(images, name))
    whole = [report.summary_markdown(results), *(f"![{title}]({IMAGES}/{name})" for name, title in drawn)]
    replace(os.path.join(beside, DOCS, "speed.md"), "\n\n".join(["# Speed", *whole]) + "\n")
    return "\n\n".join([report.summary_markdown(results, whole=False),
                        *(f"![{title}]({DOCS}/{IMAGES}/{name})" for name, title in drawn if name in SHOWN),
                        "From `fastsoftmax bench`; other contenders as multiples of our Cython time. "
                        f"More: [{DOCS}/speed.md]({DOCS}/speed.md)."])


def _accuracy(results, beside):
    make_folder(os.path.join(beside, DOCS))
    replace(os.path.join(beside, DOCS, "accuracy.md"), accuracy.markdown(results))
    return (f"{accuracy.summary_markdown(results)}\n\nFrom `python -m fastsoftmax.bench.accuracy`. Units in the last place "
            f"of every kernel, dtype and instruction set: [{DOCS}/accuracy.md]({DOCS}/accuracy.md).")


def main(argv=None):
    """Rewrite -> exit status: 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.readme", description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="RESULTS_FOLDER")
    parser.add_argument("readme", metavar="README.md")
    arguments = parser.parse_args(argv)
    try:
        done = rewrite(arguments.folder, arguments.readme)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{arguments.readme}: {' and '.join(done)} rewritten from {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
