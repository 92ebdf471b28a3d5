"""The pictures of the report, drawn without a display."""

import os

import numpy as np

COLORS = {"fastsoftmax, Cython": "tab:red", "fastsoftmax, Numba": "tab:orange", "fastsoftmax, NumPy": "tab:brown",
          "NumPy, one-hot": "tab:cyan", "NumPy, indices": "tab:blue", "NumExpr": "tab:olive", "SciPy": "tab:green",
          "scikit-learn": "tab:gray", "PyTorch": "tab:purple", "PyTorch, in place by hand": "mediumpurple",
          "torch.compile": "tab:pink", "JAX, jit": "black"}
MARKERS = "osD^v<>pPXh*"
SCALE, DARK = 30, 8  # ratios at the ends of the grid's colours, and from which on these are dark


def draw(pictures, results, folder):
    """Write the PNG plots of `pictures`, (file name, title, paint(figure, results)), that the results allow.

    -> [(file name, title)]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = []
    for name, title, paint in pictures:
        figure = Figure(figsize=(8, 5), layout="constrained")  # no pyplot: nothing global, no display
        FigureCanvasAgg(figure)
        if paint(figure, results):
            figure.suptitle(title)
            part = os.path.join(folder, name + ".part")
            figure.savefig(part, dpi=120, format="png")
            os.replace(part, os.path.join(folder, name))
            drawn.append((name, title))
    return drawn


def time_against_classes(figure, results):
    """Milliseconds against V, both on log axes."""
    return _classes(figure, results, "ms", "milliseconds", 1)


def memory_against_classes(figure, results):
    """Peak extra MB against V, both on log axes."""
    # 0.1 MB stands for "nothing measurable": a log axis has no zero.
    return _classes(figure, results, "extra_bytes", "peak extra memory in MB (0.1: that or less)", 1e-6, 0.1)


def _classes(figure, results, key, label, unit, least=0.0):
    sweep = (results.get("sweeps") or {}).get("classes") or {}
    lines = {name: line for name, line in sweep.get("lines", {}).items() if line[key]}
    if not lines:
        return False
    axes = figure.add_subplot()
    for i, (name, line) in enumerate(lines.items()):
        values = [np.nan if v is None else max(least, unit * v) for v in line[key]]
        axes.loglog(sweep["n_classes"][:len(values)], values, "-" if name.startswith("fastsoftmax") else "--",
                    color=COLORS.get(name), marker=MARKERS[i % len(MARKERS)], fillstyle="none", label=name)
    axes.set(xlabel=f"classes ({sweep['n_rows']:,} rows, {sweep['dtype']}, {sweep['operation']})", ylabel=label)
    axes.grid(True, which="both", alpha=0.2)
    figure.legend(loc="outside right center", fontsize="small")
    return True


def roofline(figure, results):
    """Useful GB/s of each operation beside what the machine can do."""
    case = next(iter(results.get("cases", [])), None)
    operations = [o for o in case["operations"] if o["rounds"]] if case else []
    if not operations:
        return False
    labels = list(dict.fromkeys(e["label"] for o in operations for e in o["entries"]))
    ours = [label for label in labels if label.startswith("fastsoftmax")][::-1]
    axes, height, places = figure.add_subplot(), 0.8 / (len(ours) + 1), np.arange(len(operations))
    for i, label in enumerate([*ours, None]):
        bars = [_bar(o, label) for o in operations]
        at = places + (i - len(ours) / 2) * height
        axes.barh(at, [value for value, _ in bars], height, color=COLORS.get(label, "lightgray"),
                  label=label or "fastest other, named")
        for place, (value, text) in zip(at, bars, strict=True):  # ours inside: the ceiling's mark may be near the end
            axes.text(0 if label else value, place, f" {text}", va="center", fontsize="x-small",
                      color="white" if label else "black")
    for place, o in zip(places, operations, strict=True):
        axes.plot([o["ceiling"]["gb_per_s"]] * 2, [place - 0.45, place + 0.45], color="black", lw=2,
                  label=None if place else "ceiling, measured in the same rounds")
    axes.set_yticks(places, [o["label"] for o in operations])
    axes.invert_yaxis()
    axes.set_xlabel(f"useful GB/s ({case['description']})")
    axes.set_xlim(0, 1.15 * max(max(o["ceiling"]["gb_per_s"] for o in operations), axes.get_xlim()[1] / 1.05))
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return True


def _bar(operation, label):
    """(GB/s, text) of a contender of ours, or of the fastest other one for label None."""
    found = [e for e in operation["entries"] if (e["label"] == label if label else not e["ours"])]
    if not found:
        return 0.0, ""
    entry = min(found, key=lambda e: e["ms"])
    return entry["gb_per_s"], f"{entry['percent']:.0f}%" if label else entry["label"]


def threads(figure, results):
    """How many times faster than on one thread."""
    sweep = (results.get("sweeps") or {}).get("threads") or {}
    if not sweep.get("lines"):
        return False
    axes, counts = figure.add_subplot(), sweep["threads"]
    axes.plot(counts, counts, ":", color="gray", label="as many times faster as threads")
    for i, (name, line) in enumerate(sweep["lines"].items()):
        color = "black" if name.startswith("ceiling") else next((c for n, c in COLORS.items() if name.startswith(n)), None)
        axes.plot(counts, [line["ms"][0] / ms for ms in line["ms"]], "--" if name.startswith("ceiling") else "-",
                  color=color, marker=MARKERS[i % len(MARKERS)], fillstyle="none", label=name)
    axes.set_xticks(counts)
    axes.set(xlabel=f"threads ({sweep['description']}; one row: {sweep['one_row']})",
             ylabel="times faster than on one thread")
    axes.grid(True, alpha=0.2)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return True


def errors(figure, results):
    """Largest error by dtype, in units of the last place."""
    operations = ((results.get("sweeps") or {}).get("dtypes") or {}).get("operations")
    if not operations:
        return False
    grid = figure.subplots(1, len(operations), sharey=True, squeeze=False)[0]
    for axes, operation in zip(grid, operations, strict=True):
        dtypes = list(dict.fromkeys(e["dtype"] for e in operation["entries"]))
        labels = list(dict.fromkeys(e["label"] for e in operation["entries"]))
        width = 0.8 / len(labels)
        for i, label in enumerate(labels):
            found = {e["dtype"]: e for e in operation["entries"] if e["label"] == label}
            axes.bar([k + (i + 0.5) * width - 0.4 for k, d in enumerate(dtypes) if d in found],
                     [max(1e-4, found[d]["max_ulp"]) for d in dtypes if d in found], width, bottom=0,
                     color=COLORS.get(label), label=label if axes is grid[0] else None)
        axes.axhline(0.5, color="black", ls=":", lw=1, label="rounding alone: 0.5" if axes is grid[0] else None)
        axes.set(yscale="log", title=operation["label"])
        axes.set_xticks(range(len(dtypes)), dtypes, fontsize="small")
    grid[0].set_ylabel("largest error in ulp (1e-4: that or less)")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return True


def grid(figure, results):
    """Ratios over the grid, one panel for each dtype and operation."""
    from matplotlib.colors import LogNorm

    cells = (results.get("grid") or {}).get("cells")
    if not cells:
        return False
    rows, classes = results["grid"]["rows"], results["grid"]["classes"]
    dtypes, labels = (list(dict.fromkeys(c[key] for c in cells)) for key in ("dtype", "label"))
    panels = figure.subplots(len(labels), len(dtypes), sharex=True, sharey=True, squeeze=False)
    figure.set_size_inches(3 * len(dtypes) + 1.5, 2.6 * len(labels) + 0.8)
    for axes, (label, dtype) in zip(panels.flat, ((la, d) for la in labels for d in dtypes), strict=True):
        values = np.full((len(rows), len(classes)), np.nan)
        for c in cells:
            if (c["label"], c["dtype"]) == (label, dtype) and c["ratio"] is not None:
                at = list(rows).index(c["n_rows"]), list(classes).index(c["n_classes"])
                values[at] = c["ratio"]
                axes.text(*at[::-1], f"{c['ratio']:.2g}", ha="center", va="center", fontsize="x-small",
                          color="black" if 1 / DARK < c["ratio"] < DARK else "white")
        image = axes.imshow(values, norm=LogNorm(1 / SCALE, SCALE), cmap="PiYG", aspect="auto")
        axes.set_title(f"{label}, {dtype}", fontsize="small")
        axes.set_xticks(range(len(classes)), [f"{n:,}" for n in classes], rotation=45, fontsize="x-small")
        axes.set_yticks(range(len(rows)), [f"{n:,}" for n in rows], fontsize="x-small")
    figure.supxlabel("classes", fontsize="small")
    figure.supylabel("rows", fontsize="small")
    figure.colorbar(image, ax=panels, label="time of the fastest of NumPy, SciPy and PyTorch over ours")
    return True


PICTURES = (("roofline.png", "Useful bandwidth against the ceiling", roofline),
            ("time.png", "Time of loss and gradient", time_against_classes),
            ("memory.png", "Peak extra memory of loss and gradient", memory_against_classes),
            ("threads.png", "Thread scaling", threads),
            ("errors.png", "Largest error by dtype", errors),
            ("grid.png", "The fastest of the others against us", grid))
