"""Random problems for the tests, all seeded."""

import numpy as np


def problem(n_rows, n_classes, dtype=np.float32, seed=0, spread=2.0, ignored=True):
    """(logits, labels): normal logits, every seventh label ignored."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(n_rows, n_classes)) * spread).astype(dtype)
    labels = rng.integers(0, n_classes, n_rows)
    if ignored:
        labels[3::7] = -100
    return logits, labels
