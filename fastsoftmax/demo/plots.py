"""The training curve, beside the pictures that the demo shares with the benchmark."""

import numpy as np

from ..bench.plots import memory_against_classes, time_against_classes


def training_curve(figure, results):
    """Perplexity against words seen, on log axes."""
    training = results.get("training") or {}
    if not training.get("curve", {}).get("words"):
        return False
    axes = figure.add_subplot()
    loss = np.array(training["curve"]["loss"])
    width = max(1, len(loss) // 50)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    words = training["curve"]["words"][width - 1:]
    axes.plot(words, np.exp(smooth), alpha=0.6, label="training" + (f", mean of {width} steps" if width > 1 else ""))
    axes.plot(training["checks"]["words"], training["checks"]["perplexity"], "o-", label="held out")
    axes.axhline(training["unigram_perplexity"], color="gray", ls="--", label="unigram, held out")
    axes.set(xlabel="words trained on", ylabel="perplexity", yscale="log")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    return True


PICTURES = (("time.png", "Time of loss and gradient", time_against_classes),
            ("memory.png", "Peak extra memory of loss and gradient", memory_against_classes),
            ("training.png", "Next-word model", training_curve))
