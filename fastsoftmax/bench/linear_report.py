"""What bench.linear found, as text: tables, promises, and whether they are kept."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

from . import machine
from .linear_measure import GRID_ROUNDS, LONG_ROUNDS, PEAK
from .report import digits, number, table_markdown
from .rounds import distrust
from .targets import Target

SCHEMA = 1
EVERYWHERE = {"extra_mb": 70.0, "worst_times_numpy": 3.0}  # what all of ours promise
# {contender: {figure: bound}}
PROMISES = {
    "numpy": EVERYWHERE,
    "numba": EVERYWHERE,
    "cython": EVERYWHERE | {"peak_share": 0.80, "times_torch": 3.0, "of_bare": 0.65, "read_share": 0.85},
    "cython-bfloat16": {"extra_mb": 70.0, "worst_error": 0.01, "times_float32": 1.6},
}
GRID = 1.0  # what the worst cell must be
LEAST_OPERATIONS = 10**11  # from which on speed is judged: of less work a time says little


@dataclass(frozen=True)
class Figure:
    """Where a promised figure stands, the key of an entry in a section of the results; and what it is called."""

    section: str
    text: str
    at_most: bool = False
    speed: bool = True
    form: str = "{:.2f}"


FIGURES = {
    "peak_share": Figure("main", "loss and both gradients: share of the FMA peak"),
    "times_torch": Figure("main", "loss and both gradients: PyTorch's time over ours"),
    "of_bare": Figure("main", "loss and both gradients: our time over NumPy's three bare products", at_most=True),
    "extra_mb": Figure("memory", "peak extra MB, gradients aside", at_most=True, speed=False, form="{:.1f}"),
    "worst_times_numpy": Figure("accuracy", "worst error of loss, dfeatures, dclassifier over NumPy's in float32",
                                at_most=True, speed=False),
    "worst_error": Figure("accuracy", "worst relative error of loss, dfeatures, dclassifier", at_most=True, speed=False,
                          form="{:.1e}"),
    "times_float32": Figure("main", "loss and both gradients: times faster than in float32"),
    "read_share": Figure("one_row", "losses of one row: share of the bandwidth of reading, over the classifier's bytes"),
}


def begin(options):
    """The results of a run that has measured nothing yet."""
    kept = vars(options) | {"size": asdict(options.size)}
    return {"schema": SCHEMA, "machine": machine.stamp(), "options": kept, "targets": [], "missed": []}


def judge(results, size):
    """Fill in "targets", all that these results can answer, and "missed"; speed only where there is enough work."""
    results["speed_judged"] = size.operations >= LEAST_OPERATIONS
    judged = [t.judge(results) for t in _targets(results)]
    results["targets"] = [j for j in judged if j is not None]
    results["missed"] = [f"{j['text']}: {j['measured']}, wanted {j['wanted']}" for j in results["targets"] if not j["met"]]


def _targets(results):
    for name, promises in PROMISES.items():
        for key, bound in promises.items():
            figure = FIGURES[key]
            found = [e for e in results.get(figure.section, {}).get("entries", []) if e["name"] == name]
            if found and (results["speed_judged"] or not figure.speed):
                yield Target(f"{found[0]['label']}, {figure.text}", bound, lambda _, e=found[0], key=key: e.get(key),
                             figure.at_most, figure.form)
    if results["speed_judged"]:
        yield Target("worst cell of the grid: the faster of NumPy and PyTorch over our time", GRID,
                     lambda r: ((r.get("grid") or {}).get("worst") or {}).get("ratio"))


class Table(NamedTuple):
    """One table, all text, and what is said below it."""

    title: str
    header: list
    rows: list
    notes: list


TIMES = (("ms", "ms", digits), ("min_ms", "min ms", digits), ("spread", "spread", "{:.0%}".format))
TITLES = {"main": "Loss and both gradients", "memory": "Peak extra memory of loss and both gradients",
          "accuracy": "Relative errors against float64", "one_row": "Losses of one row"}
COLUMNS = {  # (key, header, how it is written)
    "main": (*TIMES, ("gflop_per_s", "GFLOP/s", "{:.0f}".format), ("peak_share", "of the FMA peak", "{:.0%}".format),
             ("of_bare", "over bare products", "{:.2f}".format), ("times_numpy", "times NumPy", "{:.2f}".format),
             ("times_torch", "times PyTorch", "{:.2f}".format)),
    "memory": (("extra_mb", "extra MB", "{:.1f}".format),),
    "one_row": (*TIMES, ("gb_per_s", "GB/s", "{:.1f}".format), ("read_share", "of reading", "{:.0%}".format)),
}


def table(name, found):
    """The Table of a section."""
    if name == "grid":
        return _grid_table(found)
    if name == "accuracy":
        columns = [(quantity, form) for quantity in ("loss", "dfeatures", "dclassifier") for form in (0, 1)]
        header = [f"{q}, over NumPy's" if form else q for q, form in columns]
        rows = [[e["label"], *(f"{e['times_numpy'][q]:.2f}" if form else f"{e['errors'][q]:.1e}" for q, form in columns)]
                for e in found["entries"] if "times_numpy" in e]
    else:
        header = [text for _, text, _ in COLUMNS[name]]
        rows = [[e["label"], *(number(e, key, form) for key, _, form in COLUMNS[name])] for e in found["entries"]]
    return Table(f"{TITLES[name]}: {found['description']}", ["contender", *header], rows, _notes(found))


def _notes(found):
    lines = []
    if found.get("absent"):
        lines.append(f"Absent: {'; '.join(f'{label}: {reason}' for label, reason in found['absent'].items())}.")
    ceiling = found.get("ceiling")
    if ceiling and "gflop_per_s" in ceiling:
        lines.append(f"{PEAK} in the same rounds: {ceiling['gflop_per_s']:.0f} GFLOP/s, spread {ceiling['spread']:.0%}. "
                     "6 operations are counted for each row, feature and class, whatever a contender computes. Times NumPy "
                     "and times PyTorch: their time over the contender's.")
    elif ceiling:
        lines.append(f"Reading as many bytes as the classifier has ({ceiling['how']}), in the same rounds: "
                     f"{digits(ceiling['ms'])} ms, {ceiling['gb_per_s']:.1f} GB/s, spread {ceiling['spread']:.0%}.")
    if found.get("rounds"):
        lines.append(f"{found['rounds']} interleaved rounds; medians, and spread: interquartile range over median.")
        lines += filter(None, [distrust(found["rounds"], {"": found["noisy"]})])
    return lines


def _grid_table(found):
    cells = {tuple(c["size"]): c for c in found["cells"]}
    features, pairs = (dict.fromkeys(key(*c) for c in cells) for key in (lambda n, d, v: d, lambda n, d, v: (n, v)))
    rows = [[f"{n:,} x {v:,}", *(_ratio(cells.get((n, d, v))) for d in features)] for n, v in pairs]
    notes = [f"Left out: {text}." for text in found["left_out"]]
    notes.append("Each cell: the time of the faster of NumPy (N) and PyTorch (P) over ours, medians of "
                 f"{found['rounds']} interleaved rounds ({GRID_ROUNDS} at most, {LONG_ROUNDS} of cells that take seconds).")
    if found["worst"]:
        n, d, v = found["worst"]["size"]
        notes.append(f"Worst of {len(cells)} cells: {n:,} x {d:,} x {v:,}, where {found['worst']['rival']} takes "
                     f"{found['worst']['ratio']:.2f} times as long as we do.")
        unsure = sum(bool(c["noisy"]) for c in found["cells"])
        notes.append(f"In {unsure} of the cells a timing spreads too much to be trusted.")
    header = ["rows x classes", *(f"{d:,} features" for d in features)]
    return Table("The grid: loss and both gradients", header, rows, notes)


def _ratio(cell):
    return "-" if cell is None else f"{cell['ratio']:.2f} {cell['rival'][0]}"


def verdict(results):
    """The Table of the targets, and what was missed."""
    rows = [[t["text"], t["wanted"], t["measured"], "yes" if t["met"] else "NO"] for t in results["targets"]]
    notes = []
    if not results["speed_judged"]:
        notes.append(f"Speed is not judged: {LEAST_OPERATIONS:,} operations are the least that is.")
    if results["missed"]:
        notes += ["MISSED:", *(f"- {text}" for text in results["missed"])]
    elif rows:
        notes.append("Every target is met." if results["status"] == "complete" else "Every target measured so far is met.")
    return Table("Targets", ["wanted", "at", "measured", "met"], rows, notes)


def show(table):
    """A Table on the terminal."""
    from rich.console import Console
    from rich.table import Table as Printed

    printed = Printed(title=table.title, title_justify="left")
    for i, text in enumerate(table.header):
        printed.add_column(text, justify="right" if i else "left")
    for row in table.rows:
        printed.add_row(*row)
    Console(width=None if Console().is_terminal else 120).print(printed)
    print("\n".join(table.notes) + "\n", flush=True)


def markdown(results):
    """The report as text."""
    status = "" if results["status"] == "complete" else f" ({results['status']}: what was done so far)"
    parts = [f"# A linear layer and its loss{status}", machine.describe(results["machine"])]
    tables = [table(name, results[name]) for name in (*TITLES, "grid") if results.get(name)]
    for title, header, rows, notes in [verdict(results), *tables]:
        parts += [f"## {title}", table_markdown(header, rows), *notes]
    return "\n\n".join(parts) + "\n"
