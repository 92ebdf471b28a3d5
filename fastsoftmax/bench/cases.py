"""What is measured: operations, named shapes, and the arrays of one measurement.

A case is a table of logits; with an operation it gives Inputs, which every contender gets alike. Tables are made of
one random block of rows, repeated: what they hold does not change the time, and a small block is quickly checked.
"""

from dataclasses import dataclass, replace

import numpy as np

from .session import CommandError

DTYPES = ("float64", "float32", "bfloat16", "float16")
SURE = 30.0  # the largest of 100,000 other logits is about 13
BLOCK_LOGITS = 1 << 21  # of the random block: few enough for its answers in longdouble to take under a second


@dataclass(frozen=True)
class Operation:
    """What is computed. `passes`: the least traffic possible, as passes of ceilings.py over one table."""

    name: str
    label: str
    passes: tuple
    in_place: bool = False
    out: bool = False  # whether a table is written to memory of its own
    second: str | None = None  # what a second input table holds
    gradient: bool = False  # of the loss with respect to the logits


OPERATIONS = {o.name: o for o in (
    Operation("loss", "loss", ("read",)),
    Operation("gradient-in-place", "loss+gradient in place", ("update",), in_place=True, gradient=True),
    Operation("gradient", "loss+gradient out of place", ("copy",), out=True, gradient=True),
    Operation("softmax", "softmax", ("copy",), out=True),
    Operation("log-softmax", "log_softmax", ("copy",), out=True),
    Operation("logsumexp", "logsumexp", ("read",)),
    Operation("soft-cross-entropy", "soft cross-entropy", ("read", "read"), second="target_probs"),
    Operation("softmax-grad", "softmax_grad", ("read", "copy"), out=True, second="dprobs"),
)}


@dataclass(frozen=True)
class Case:
    """n_rows x n_classes logits; with `inner` > 1 as (n_rows/inner, n_classes, inner), the class axis first.

    sure: whether one class of each row is nearly certain, as a trained model has it
    """

    name: str
    n_rows: int
    n_classes: int
    dtype: str = "float32"
    inner: int = 1
    sure: bool = False

    @property
    def shape(self):
        """The shape of its tables."""
        return (self.n_rows // self.inner, self.n_classes) + ((self.inner,) if self.inner > 1 else ())

    @property
    def axis(self):
        """Which axis holds the classes."""
        return 1 if self.inner > 1 else -1

    @property
    def n_bytes(self):
        """Bytes of one of its tables."""
        return self.n_rows * self.n_classes * dtype_of(self.dtype).itemsize

    def toy(self):
        """The same at a size that takes no time, for tests."""
        inner = min(self.inner, 3)
        return replace(self, n_rows=inner * max(1, min(self.n_rows // self.inner, 6)), inner=inner,
                       n_classes=min(self.n_classes, 3 + self.n_classes // 1000))

    def describe(self):
        """One line for people."""
        return (f"{' x '.join(f'{n:,}' for n in self.shape)} {self.dtype}" + (", class axis 1" if self.inner > 1 else "")
                + (", one class of a row nearly certain" if self.sure else ""))


# Row counts keep a table at about 200 MB, past every cache, and what one operation needs at about 1 GB.
CASES = {c.name: c for c in (
    Case("gpt2", 1_024, 50_257),
    Case("large", 512, 100_000),
    Case("llama3", 400, 128_256),
    Case("gemma", 200, 256_000),
    Case("million", 50, 1_000_000),
    Case("one-row", 1, 1_000_000),
    Case("short-rows", 500_000, 100),
    Case("one-call", 4, 10),  # what a call costs before the first logit
    Case("class-axis-first", 512, 100_000, inner=64),
    Case("gpt2-sure", 1_024, 50_257, sure=True),
    Case("large-float64", 512, 100_000, "float64"),
    Case("large-bfloat16", 512, 100_000, "bfloat16"),
    Case("large-float16", 512, 100_000, "float16"),
)}
DEFAULT_CASE = "large"


@dataclass(frozen=True)
class Inputs:
    """The arrays of one measurement, all of the case's shape; the class axis is `axis`.

    x       the logits, or the probabilities where the operation is a gradient through softmax; contenders may
            overwrite it where operation.in_place, and only there
    second  the other table that the operation reads, or None
    out     where results go that are not in place, or None; contenders may give a table of their own instead
    labels  (...) int64, the shape of x without its class axis
    blocks  the first rows of x and of second, which the others repeat
    """

    case: Case
    operation: Operation
    x: np.ndarray
    labels: np.ndarray
    second: np.ndarray | None
    out: np.ndarray | None
    blocks: tuple

    @property
    def axis(self):
        """The class axis."""
        return self.case.axis

    def refresh(self):
        """Undo what in-place contenders did to x."""
        if self.operation.in_place:
            _repeat(self.blocks[0], self.x)


def dtype_of(name):
    """The NumPy dtype of a name of DTYPES."""
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError as error:
            raise CommandError('bfloat16 needs ml_dtypes: pip install "fastsoftmax[bench]"') from error
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def make(case, operation, seed=0):
    """Inputs for an operation on a case: logits normal with deviation 3, labels uniform."""
    rng = np.random.default_rng(seed)
    shape, dtype = case.shape, dtype_of(case.dtype)
    n_rows = max(1, min(shape[0], 64, BLOCK_LOGITS // (shape[1] * case.inner)))
    first, second = _block(rng, (n_rows, *shape[1:])), None
    if case.sure:
        at = rng.integers(0, case.n_classes, (n_rows, *shape[2:]))
        np.put_along_axis(first, np.expand_dims(at, 1), SURE, axis=1)
    if operation.second == "target_probs":
        second = _probs(_block(rng, first.shape), case.axis)
    elif operation.second == "dprobs":
        first, second = _probs(first, case.axis), _block(rng, first.shape)
    blocks = tuple(None if b is None else b.astype(dtype) for b in (first, second))
    tables = [None if b is None else _repeat(b, np.empty(shape, dtype)) for b in blocks]
    labels = rng.integers(0, case.n_classes, shape[:1] + shape[2:])
    out = np.zeros(shape, dtype) if operation.out else None
    if out is not None:
        out.fill(1)  # zeros are pages not yet there: the first to write them would pay
    return Inputs(case, operation, tables[0], labels, tables[1], out, blocks)


def _block(rng, shape):
    block = rng.standard_normal(shape, dtype=np.float32)
    block *= 3
    return block


def _probs(logits, axis):
    exps = np.exp(logits - logits.max(axis, keepdims=True))
    return exps / exps.sum(axis, keepdims=True)


def _repeat(block, table):
    """Fill the table with its first rows, over and over."""
    for start in range(0, len(table), len(block)):
        part = table[start:start + len(block)]
        np.copyto(part, block[:len(part)])
    return table
