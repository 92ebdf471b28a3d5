"""[5] What the constructor's parameters may be: checked when fitting, as everywhere in scikit-learn."""

import math
from numbers import Integral, Real
from typing import Any

from ..check.numbers import flag
from .minibatch import OPTIMIZERS

SOLVERS = ("lbfgs", *OPTIMIZERS)
# name: (kind, lowest, whether that is allowed itself, highest, whether None is allowed)
NUMBERS: dict[str, tuple[Any, int, bool, float, bool]] = {
    "C": (Real, 0, False, math.inf, False),
    "alpha": (Real, 0, True, math.inf, True),
    "tol": (Real, 0, True, math.inf, False),
    "max_iter": (Integral, 1, True, math.inf, False),
    "learning_rate": (Real, 0, False, math.inf, True),
    "batch_size": (Integral, 1, True, math.inf, False),
    "validation_fraction": (Real, 0, False, 1, False),
    "n_iter_no_change": (Integral, 1, True, math.inf, False),
    "max_workspace_bytes": (Integral, 1, True, math.inf, False),
    "verbose": (Integral, 0, True, math.inf, False),
}
FLAGS = ("fit_intercept", "warm_start", "early_stopping")


def check(estimator: Any) -> None:
    """Raise for the first parameter that is wrong."""
    if estimator.solver not in SOLVERS:
        raise ValueError(f"solver is {estimator.solver!r}; allowed are {', '.join(map(repr, SOLVERS))}")
    for name, (kind, low, closed, high, optional) in NUMBERS.items():
        value: Any = getattr(estimator, name)
        if value is None and optional:
            continue
        allowed = f"{'an integer' if kind is Integral else 'a number'} {'of at least' if closed else 'above'} {low}"
        allowed += f" and below {high}" if high == 1 else ""
        if not isinstance(value, kind) or (isinstance(value, bool) and name != "verbose"):
            raise TypeError(f"{name} must be {allowed}{' or None' if optional else ''}, not {type(value).__name__}")
        if not (value >= low if closed else value > low) or (value >= high if high == 1 else value > high):
            raise ValueError(f"{name} is {value}, but must be {allowed}")
    for name in FLAGS:
        flag(getattr(estimator, name), name)
    weights = estimator.class_weight
    if not (weights is None or isinstance(weights, dict) or (isinstance(weights, str) and weights == "balanced")):
        raise ValueError(f"class_weight is {weights!r}; allowed are a dict, 'balanced' and None")
