"""[3] Optimizers that step a part of a parameter at a time, with torch's names, formulas and defaults.

An optimizer holds what it knows of a parameter under the parameter's name: `state[name]` is a dict of arrays, the number of
its steps among them, which is all that a checkpoint needs. It is computed in float32, or float64 for float64 parameters.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import backends, check, contract, threads
from .typing import Number

CHUNK = 1 << 14  # elements: those of a parameter, its gradient, its state and the workspace stay in the L2 cache together
WORTH_A_THREAD = 1 << 18
LARGEST_BETA = 1 - 2.0**-53


class Optimizer:
    """What all of them share. `state`: {name of a parameter: {name: array}}, filled at its first step.

    weight_decay: one number for all parameters, or {name of a parameter: number}, 0 for those that are not named.
    """

    NAMES: tuple[str, ...] = ()  # of the arrays that are as large as the parameter

    def __init__(self, lr: Number, weight_decay: Number | Mapping[str, Number] = 0.0) -> None:
        self.lr = check.number(lr, "lr", 0.0)
        self.weight_decay: float | dict[str, float]
        if isinstance(weight_decay, Mapping):
            self.weight_decay = {k: check.number(v, f"weight_decay[{k!r}]", 0.0) for k, v in weight_decay.items()}
        else:
            self.weight_decay = check.number(weight_decay, "weight_decay", 0.0)
        self.state: dict[str, dict[str, NDArray[Any]]] = {}

    @property
    def n_steps(self) -> int:
        """How often the parameter that was stepped most often was."""
        return max((int(known["n_steps"]) for known in self.state.values()), default=0)

    def start(self, name: str, parameter: NDArray[Any]) -> None:
        """Begin a step of a parameter: `step_part` for each of its parts is to follow."""
        check.parameter(parameter, f"parameter {name!r}")
        if name not in self.state:
            real = _real(parameter)
            arrays = {key: np.full(parameter.shape, self._initial(key), real) for key in self.NAMES}
            self.state[name] = {"n_steps": np.zeros((), np.int64), **arrays}
        known = self.state[name]
        for key in self.NAMES:
            check.same_shape(f"{name!r}, as the optimizer knows it,", known[key], parameter.shape)
        known["n_steps"] += 1

    def _initial(self, key: str) -> float:
        return 0.0

    def step_part(self, name: str, parameter: NDArray[Any], gradient: NDArray[Any], part: slice = slice(None)) -> None:
        """Step parameter[part], whose gradient is given; `part` is a slice of the first axis."""
        known = self.state[name]
        x, *state = (np.atleast_1d(a)[part] for a in (parameter, *(known[key] for key in self.NAMES)))
        check.same_shape(f"the gradient of a part of {name!r}", gradient, x.shape)
        decay = self.weight_decay.get(name, 0.0) if isinstance(self.weight_decay, dict) else self.weight_decay
        rule, numbers = self._rule(int(known["n_steps"]))
        rows = max(1, CHUNK // max(1, gradient.size // max(1, len(gradient))))
        slices = [(i, min(i + rows, len(gradient))) for i in range(0, len(gradient), rows)]
        n_threads = max(1, min(threads.get_num_threads(), gradient.size // WORTH_A_THREAD))
        if slices:
            step = contract.Step(rule, numbers, decay, x, gradient, tuple(state))
            threads.each(backends.load(backends.current()).step(step), slices, n_threads)

    def update(self, name: str, parameter: NDArray[Any], gradient: ArrayLike) -> None:
        """One step of a whole parameter, in place."""
        self.start(name, parameter)
        g = np.asarray(gradient, _real(parameter))
        check.same_shape(f"the gradient of {name!r}", g, parameter.shape)
        self.step_part(name, parameter, np.atleast_1d(g))

    def _rule(self, n_steps: int) -> tuple[str, tuple[float, ...]]:
        """The rule of contract.Step and its numbers; n_steps counts this one."""
        raise NotImplementedError


class SGD(Optimizer):
    """v = momentum*v + g; x -= lr*v."""

    def __init__(self, lr: Number = 1e-3, momentum: Number = 0.0,
                 weight_decay: Number | Mapping[str, Number] = 0.0) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = check.number(momentum, "momentum", 0.0)
        self.NAMES = ("momentum_buffer",) if self.momentum else ()

    def _rule(self, n_steps: int) -> tuple[str, tuple[float, ...]]:
        return ("momentum", (self.lr, self.momentum)) if self.momentum else ("sgd", (self.lr,))


class Adagrad(Optimizer):
    """s += g^2; x -= lr*g/(sqrt(s) + eps): large steps for rare classes (Duchi, Hazan and Singer, 2011)."""

    NAMES = ("sum",)

    def __init__(self, lr: Number = 1e-2, initial_accumulator_value: Number = 0.0, eps: Number = 1e-10,
                 weight_decay: Number | Mapping[str, Number] = 0.0) -> None:
        super().__init__(lr, weight_decay)
        self.initial_accumulator_value = check.number(initial_accumulator_value, "initial_accumulator_value", 0.0)
        self.eps = check.number(eps, "eps", 0.0)

    def _initial(self, key: str) -> float:
        return self.initial_accumulator_value

    def _rule(self, n_steps: int) -> tuple[str, tuple[float, ...]]:
        return "adagrad", (self.lr, self.eps)


class Adam(Optimizer):
    """m = b1*m + (1 - b1)*g; v = b2*v + (1 - b2)*g^2; x -= lr*m'/(sqrt(v') + eps), m' = m/(1 - b1^t), v' = v/(1 - b2^t).

    Kingma and Ba 2015, algorithm 1.
    """

    NAMES = ("exp_avg", "exp_avg_sq")

    def __init__(self, lr: Number = 1e-3, betas: tuple[Number, Number] = (0.9, 0.999), eps: Number = 1e-8,
                 weight_decay: Number | Mapping[str, Number] = 0.0) -> None:
        super().__init__(lr, weight_decay)
        first, second = betas
        self.betas = check.number(first, "betas[0]", 0.0, LARGEST_BETA), check.number(second, "betas[1]", 0.0, LARGEST_BETA)
        self.eps = check.number(eps, "eps", 0.0)

    def _rule(self, n_steps: int) -> tuple[str, tuple[float, ...]]:
        b1, b2 = self.betas
        correction = 1 / math.sqrt(1 - b2**n_steps)
        return "adam", (self.lr / (1 - b1**n_steps), self.eps, b1, 1 - b1, b2, 1 - b2, correction)


def _real(parameter: NDArray[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64 if parameter.dtype.itemsize == 8 else np.float32)

