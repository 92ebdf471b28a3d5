"""The contenders: ours on each backend, and the best that others offer, each used as its own experts would.

A contender's module has load(name) -> Contender, and is imported only where it runs. Conversions, buffers, threads
and compilation are set up outside the timed call.
"""

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .. import backends
from .rounds import Timed
from .session import CommandError

WIDE = ("float64", "float32")
ALL = (*WIDE, "bfloat16", "float16")
LONG_BYTES = 1 << 25  # of a table from which on no contender's call is so short that it is repeated within a timing


@dataclass(frozen=True)
class Contender:
    """What a contender's module offers.

    operations  {operation name: run(arguments) -> (value, table)}; value: mean loss or log-sum-exps; None where absent
    wrap        Inputs -> the arguments of run, in the contender's own arrays, without a copy where that can be
    unwrap      the contender's array -> NumPy
    context     Inputs -> the context manager in which run is called
    consumes    whether an in-place run uses its arguments up, so that each call needs fresh ones
    """

    operations: Mapping[str, Callable]
    wrap: Callable = lambda inputs: inputs
    unwrap: Callable = np.asarray
    context: Callable = lambda inputs: contextlib.nullcontext()
    consumes: bool = False


@dataclass(frozen=True)
class Rival:
    """One contender by name. `absent`: why it cannot run here, or None. `compiles`: anew, slowly, for each shape."""

    name: str
    label: str
    module: str
    absent: str | None = None
    dtypes: tuple = ALL
    any_axis: bool = True
    ours: bool = False
    compiles: bool = False

    def load(self):
        """Its Contender; imports what it needs."""
        return importlib.import_module(f".{self.module}", __package__).load(self.name)

    def why_not(self, case, operation):
        """Why it does not take part in an operation on a case, or None."""
        if self.absent:
            return self.absent
        if case.dtype not in self.dtypes:
            return f"it has no {case.dtype}"
        if case.inner > 1 and not self.any_axis:
            return "it takes the classes on the last axis only"
        return None if operation.name in self.load().operations else f"it has no {operation.label}"


class _Prepared:
    """A contender's own arguments of one measurement."""

    def __init__(self, contender, inputs):
        self._contender, self._inputs = contender, inputs
        self._function = contender.operations[inputs.operation.name]
        self._arguments = contender.wrap(inputs)
        self.consumes = contender.consumes and inputs.operation.in_place

    def run(self):
        return self._function(self._arguments)

    def refresh(self):
        self._inputs.refresh()
        if self.consumes:
            self._arguments = None  # the used ones first: two sets would be twice the memory
            self._arguments = self._contender.wrap(self._inputs)

    def context(self):
        return self._contender.context(self._inputs)


class Call(Timed):
    """A contender set up for one measurement. Nothing that it holds refers to it: its tables go as soon as it does."""

    def __init__(self, rival, inputs):
        contender = rival.load()
        self.unwrap, prepared = contender.unwrap, _Prepared(contender, inputs)
        super().__init__(prepared.run, prepared.refresh, prepared.context,
                         repeats=not prepared.consumes and inputs.case.n_bytes < LONG_BYTES)

    def result(self):
        """(value, table) as NumPy arrays, of one call; None where there is none."""
        self.refresh()
        self.warm = True
        with self.context():
            return tuple(None if part is None else self.unwrap(part) for part in self.run())


def all_rivals():
    """Every contender, the absent ones too, in the order of the tables."""
    scipy, torch = _missing("scipy", "SciPy"), _missing("torch", "PyTorch")
    others = [
        Rival("one-hot", "NumPy, one-hot", "rivals_numpy", dtypes=WIDE, any_axis=False),
        Rival("indices", "NumPy, indices", "rivals_numpy"),
        Rival("numexpr", "NumExpr", "rivals_numexpr", _missing("numexpr", "NumExpr"), WIDE),
        Rival("scipy", "SciPy", "rivals_scipy", scipy),
        Rival("sklearn", "scikit-learn", "rivals_sklearn", _missing("sklearn", "scikit-learn"), WIDE, any_axis=False),
        Rival("torch", "PyTorch", "rivals_torch", torch),
        Rival("torch-in-place", "PyTorch, in place by hand", "rivals_torch", torch),
        Rival("torch-compile", "torch.compile", "rivals_torch_compile", torch, compiles=True),
        Rival("jax", "JAX, jit", "rivals_jax", _missing("jax", "JAX")),
    ]
    labels = {"numpy": "NumPy", "numba": "Numba", "cython": "Cython"}
    return others + [Rival(name, f"fastsoftmax, {label}", "rivals_ours", backends.why_not(name), ours=True)
                     for name, label in labels.items()]


def select(text="all"):
    """The contenders of "all", "none" or "name,name": ours on the compiled backends always, on NumPy if named.

    Where neither compiled backend works NumPy speaks for us. Raises CommandError for an unknown name.
    """
    rivals = all_rivals()
    named = [] if text in ("all", "none") else text.split(",")
    unknown = sorted(set(named) - {r.name for r in rivals})
    if unknown:
        raise CommandError(f"no rival {', '.join(unknown)}; there are {', '.join(r.name for r in rivals)}")
    ours = {r.name for r in rivals if r.ours and r.name != "numpy"}
    if all(r.absent for r in rivals if r.name in ours):
        ours.add("numpy")
    return [r for r in rivals if r.name in ours or r.name in named or (text == "all" and not r.ours)]


def reference_name(names):
    """Which of these contenders the others are held against: ours on the best backend among them, or None."""
    return next((name for name in backends.NAMES if name in names), None)


def _missing(package, label):
    return None if importlib.util.find_spec(package) else f"{label} is not installed"
