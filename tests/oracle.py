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


def gradient_bits(seed):
    """Loss and gradient of a problem that two threads share, as bytes: for other processes to compare."""
    import fastsoftmax as fs

    loss, dlogits, lse = fs.cross_entropy_and_grad(*problem(64, 5_000, seed=seed))
    return loss.tobytes() + dlogits.tobytes() + lse.tobytes()
