"""The pictures that the demo shares with the benchmark and with `fastsoftmax train`."""

from ..bench.plots import memory_against_classes, time_against_classes
from ..train.report import training_curve

PICTURES = (("time.png", "Time of loss and gradient", time_against_classes),
            ("memory.png", "Peak extra memory of loss and gradient", memory_against_classes),
            ("training.png", "Next-word model", training_curve))
