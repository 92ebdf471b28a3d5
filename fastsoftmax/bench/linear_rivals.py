"""Who does a linear layer and its loss in bench.linear, and on what; PyTorch's part is in linear_torch.py."""

import importlib.util
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import fastsoftmax as fs

from .. import backends
from .cases import Operation
from .rivals import Contender, Rival

LOSSES = Operation("losses", "losses", ("read",))
GRADIENTS = Operation("gradients", "loss and both gradients", ("read",), gradient=True)
DEVIATION = 0.05  # of the classifier; that of the features is 1, that of the logits then 1.1 at 512 features
BARE, NUMPY, TORCH = "bare", "numpy-idiom", "torch"
FLOAT32 = "cython"  # what the same in bfloat16 is compared with
# {name: (label, backend, options of the call)}: what else ours can do is one entry more, and one of linear_report.PROMISES
OURS = {
    "numpy": ("NumPy", "numpy", {}),
    "numba": ("Numba", "numba", {}),
    "cython": ("Cython", "cython", {}),
    "cython-bfloat16": ("Cython, bfloat16", "cython", {"compute_dtype": "bfloat16"}),
}


@dataclass(frozen=True)
class Size:
    """features (n_rows, n_features), classifier (n_classes, n_features), in float32."""

    n_rows: int
    n_features: int
    n_classes: int
    dtype = "float32"
    inner = 1  # the classes are the last axis

    @property
    def operations(self):
        """Multiplications and additions of the three products."""
        return 6 * self.n_rows * self.n_features * self.n_classes

    @property
    def n_bytes(self):
        """Bytes of the classifier and of the logits."""
        return 4 * self.n_classes * (self.n_features + self.n_rows)

    def within(self, n_rows, n_features, n_classes):
        """The same, but no larger than this."""
        return Size(min(self.n_rows, n_rows), min(self.n_features, n_features), min(self.n_classes, n_classes))

    def describe(self):
        """One line for people."""
        return f"{self.n_rows:,} x {self.n_features:,} x {self.n_classes:,} {self.dtype}"


class Inputs:
    """The arrays of one measurement, which no contender overwrites; x, w and y depend on size and seed alone.

    x, w, y  features, classifier, labels
    out      (dfeatures, dclassifier), where gradients go; contenders may give arrays of their own instead
    logits   what NumPy computes in, allocated where somebody asks for it
    """

    def __init__(self, size, operation, seed=0):
        rng = np.random.default_rng(seed)
        self.case, self.operation = size, operation
        self.x = rng.standard_normal((size.n_rows, size.n_features), dtype=np.float32)
        self.w = rng.standard_normal((size.n_classes, size.n_features), dtype=np.float32)
        self.w *= DEVIATION
        self.y = rng.integers(0, size.n_classes, size.n_rows)
        # ones, because zeros are pages not yet there: the first to write them would pay
        self.out = (np.ones_like(self.x), np.ones_like(self.w)) if operation.gradient else None

    @cached_property
    def logits(self):
        """(n_rows, n_classes), the same at every call."""
        return np.ones((self.case.n_rows, self.case.n_classes), np.float32)

    @property
    def scratch_bytes(self):
        """Bytes of the logits, if they exist."""
        return self.logits.nbytes if "logits" in vars(self) else 0

    def refresh(self):
        """Nothing to undo."""


def contenders():
    """Every contender, the absent ones too, in the order of the tables; ours on NumPy only where nothing is compiled."""
    found = [_rival(BARE, "NumPy, three bare products"), _rival(NUMPY, "NumPy"),
             Rival(TORCH, "PyTorch", "linear_torch", None if importlib.util.find_spec("torch") else "it is not installed")]
    ours = [_rival(name, f"fastsoftmax, {label}", backends.why_not(backend), ours=True)
            for name, (label, backend, _) in OURS.items()]
    compiled = [r for r in ours if OURS[r.name][1] != "numpy"]
    return found + (ours if all(r.absent for r in compiled) else compiled)


def _rival(name, label, absent=None, ours=False):
    return Rival(name, label, "linear_rivals", absent, ours=ours)


def load(name):
    """The Contender of this name. Losses are (losses,), gradients (loss, dfeatures, dclassifier)."""
    if name == BARE:
        return Contender({GRADIENTS.name: _bare})
    if name == NUMPY:
        return Contender({LOSSES.name: _losses, GRADIENTS.name: _gradients})
    _, backend, options = OURS[name]
    return Contender({
        LOSSES.name: lambda i: (fs.linear_cross_entropy(i.x, i.w, i.y, reduction="none", **options),),
        GRADIENTS.name: lambda i: fs.linear_cross_entropy_and_grad(i.x, i.w, i.y, out=(*i.out, None), **options)[:3],
    }, context=lambda inputs: fs.use_backend(backend))


def _bare(i):
    """The products alone: what is left of the time is what softmax and loss may cost."""
    z = np.matmul(i.x, i.w.T, out=i.logits)
    return None, *_products(i, z)


def _losses(i):
    return (_exps(i)[0],)


def _gradients(i):
    """Every step in place in the logits."""
    losses, z, sums = _exps(i)
    n_rows = np.float32(len(z))
    z /= (sums * n_rows)[:, None]
    z[np.arange(len(z)), i.y] -= 1 / n_rows
    return losses.mean(), *_products(i, z)


def _exps(i):
    """(losses, exp(logits - their maximum), its sums)."""
    z = np.matmul(i.x, i.w.T, out=i.logits)
    z -= z.max(axis=1, keepdims=True)
    at_label = z[np.arange(len(z)), i.y]
    np.exp(z, out=z)
    sums = z.sum(axis=1)
    return np.log(sums) - at_label, z, sums


def _products(i, z):
    dfeatures, dclassifier = i.out
    np.matmul(z, i.w, out=dfeatures)
    outer = np.multiply if len(z) == 1 else np.matmul  # of one row twice as fast as the product
    outer(z.T, i.x, out=dclassifier)
    return dfeatures, dclassifier
