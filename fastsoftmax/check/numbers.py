"""[3] Arguments that are numbers or names."""

import math
import operator
from typing import Any, SupportsIndex

import numpy as np

from .. import backends
from ..contract import SCALES
from ..typing import BackendName


def number(value: Any, name: str, low: float, high: float = math.inf, *, above: bool = False) -> float:
    """A real number in [low, high], or in (low, high] with `above`; never NaN, never an infinity."""
    x = value if type(value) is float else _as_float(value, name)
    if not math.isfinite(x) or x < low or x > high or (above and x == low):
        bracket = "(" if above else "["
        end = "inf)" if high == math.inf else f"{high:g}]"
        raise ValueError(f"{name} is {x}, outside {bracket}{low:g}, {end}")
    return x


def _as_float(value: Any, name: str) -> float:
    """A real number as a float, inf where it is too large for one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    wrong = TypeError(f"{name} must be a real number, not {type(value).__name__}")
    if isinstance(value, (bool, np.bool_, str, bytes, np.complexfloating, np.ndarray)):
        raise wrong
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise wrong from None


def integer(value: Any, name: str) -> int:
    """A Python or NumPy integer as an int; never a bool."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None


def flag(value: Any, name: str) -> bool:
    """A Python or NumPy bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return bool(value)


def thread_count(n: SupportsIndex | str, name: str = "n") -> int:
    """A number of threads, at least 1; a string where it comes from an environment variable."""
    try:
        count = int(n) if isinstance(n, str) else integer(n, name)
    except ValueError:
        raise ValueError(f"{name} is {n!r}, but must be an integer of at least 1") from None
    if count < 1:
        raise ValueError(f"{name} is {count}, but must be at least 1")
    return count


def backend_name(name: BackendName, where: str = "name") -> BackendName:
    """A backend that exists and works here, or "auto"."""
    one_of(name, where, ("auto", *backends.NAMES))
    reason = None if name == "auto" else backends.why_not(name)
    if reason:
        raise ValueError(f"{where} is {name!r}, which is not available: {reason}")
    return name


def one_of(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    """One of a few strings."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed are " + ", ".join(map(repr, allowed)))
    return value


def scale_of(temperature: Any) -> float:
    return 1.0 / number(temperature, "temperature", *SCALES)


def cap_of(softcap: Any) -> float:
    return 0.0 if softcap is None else number(softcap, "softcap", *SCALES)
