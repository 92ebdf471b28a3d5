"""More than 2^31 logits, for real: bfloat16, in place and memory-mapped, 4.3 GB."""

import numpy as np
import pytest
from operations import dtype_of

import fastsoftmax as fs
from fastsoftmax import backends

N_ROWS, N_CLASSES = 21_500, 100_000
# the first two, the one that 2^31 lies in and the ones around it, the last: all others are ignored, to save time
ROWS = [0, 1, 21_473, 21_474, 21_475, 21_499]


# NumPy's offsets are its own: its minute in 4.3 GB would test nothing of ours
COMPILED = [name for name in backends.available() if name != "numpy"]


@pytest.fixture(params=COMPILED)
def compiled_backend(request):
    with fs.use_backend(request.param):
        yield request.param


def problem():
    row = np.random.default_rng(0).normal(size=N_CLASSES).astype(dtype_of("bfloat16"))
    labels = np.full(N_ROWS, -100)
    labels[ROWS] = [99_999, 0, 5, 99_999, 0, 77]
    return row, labels


def check(row, labels, losses):
    for i in ROWS:
        assert losses[i] == fs.cross_entropy(row, labels[i])
    assert not np.delete(losses, ROWS).any()


def test_gradient_in_place(compiled_backend):
    row, labels = problem()
    logits = np.empty((N_ROWS, N_CLASSES), row.dtype)
    logits[ROWS] = row
    losses, dlogits, _ = fs.cross_entropy_and_grad(logits, labels, out=logits, reduction="none")
    check(row, labels, losses)
    for i in ROWS:
        alone = row[None].copy()
        fs.cross_entropy_and_grad(alone, labels[[i]], out=alone, reduction="none")
        assert dlogits[i].tobytes() == alone.tobytes()
    for i in (2, 21_472, 21_476, 21_498):
        assert not dlogits[i].view(np.int16).any()


def test_loss_of_a_memory_mapped_file(compiled_backend, tmp_path):
    """A sparse file: of the ignored rows nothing is read, on disk they are nothing."""
    row, labels = problem()
    logits = np.memmap(tmp_path / "logits", row.dtype, "w+", 0, (N_ROWS, N_CLASSES))
    logits[ROWS] = row
    check(row, labels, fs.cross_entropy(logits, labels, reduction="none"))


def test_rows_far_apart(backend):
    """2^30 bytes from row to row, in place: the last row's offset is 2^31 elements, and only what is used is touched."""
    row, _ = problem()
    memory = np.empty(5 * 2**29, row.dtype)
    logits = memory.reshape(5, 2**29)[:, :N_CLASSES]
    logits[:] = row
    right = fs.cross_entropy_and_grad(row[None].repeat(5, 0), [1, 2, 3, 4, 5], reduction="none")
    got = fs.cross_entropy_and_grad(logits, [1, 2, 3, 4, 5], out=logits, reduction="none")
    assert got.loss.tobytes() == right.loss.tobytes()
    np.testing.assert_allclose(got.dlogits.astype("f4"), right.dlogits.astype("f4"), rtol=2**-7)
    assert fs.softmax(logits[::-1])[0].tobytes() == fs.softmax(logits[-1]).tobytes()
