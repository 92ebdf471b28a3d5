"""The pictures of the report, drawn without a display."""

import os

from .rivals import JOBS


def draw(results, folder):
    """Write the PNG plots that the results allow -> [(file name, title)]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = []
    for name, title, paint in PICTURES:
        figure = Figure(figsize=(7, 4.5), layout="constrained")  # no pyplot: nothing global, no display
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(title=title)
        if paint(axes, results):
            part = os.path.join(folder, name + ".part")
            figure.savefig(part, dpi=120, format="png")
            os.replace(part, os.path.join(folder, name))
            drawn.append((name, title))
    return drawn


def _time(axes, results):
    return _scaling(axes, results, "ms", "milliseconds", 1)


def _memory(axes, results):
    # 0.1 MB stands for "nothing measurable": a log axis has no zero.
    return _scaling(axes, results, "extra_bytes", "peak extra memory in MB (0.1 and less: drawn at 0.1)", 1e-6, 0.1)


def _scaling(axes, results, key, label, unit, least=0.0):
    lines = (results.get("comparison") or {}).get("scaling")
    if not lines:
        return False
    for i, (name, line) in enumerate(lines.items()):
        values = [max(least, unit * v) for v in line[key]]
        style = "o-" if name.startswith("fastsoftmax") else "s--"
        axes.loglog(line["n_classes"], values, style, label=name, markersize=11 - 2 * i, fillstyle="none")
    axes.set(xlabel=f"classes ({results['comparison']['n_rows']:,} rows, float32, {JOBS[1]})", ylabel=label)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    return True


def _training(axes, results):
    training = results.get("training") or {}
    if not training.get("curve", {}).get("words"):
        return False
    import numpy as np

    loss = np.array(training["curve"]["loss"])
    width = max(1, len(loss) // 50)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    words = training["curve"]["words"][width - 1:]
    axes.plot(words, np.exp(smooth), alpha=0.6, label=f"training, mean of {width} steps")
    axes.plot(training["checks"]["words"], training["checks"]["perplexity"], "o-", label="held out")
    axes.axhline(training["unigram_perplexity"], color="gray", ls="--", label="unigram, held out")
    axes.set(xlabel="words trained on", ylabel="perplexity", yscale="log")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    return True


PICTURES = (("time.png", "Time of loss and gradient", _time),
            ("memory.png", "Peak extra memory of loss and gradient", _memory),
            ("training.png", "Next-word model", _training))
