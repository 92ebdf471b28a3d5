"""[4] Arrays of other libraries: their memory goes in, and results come back as arrays of the first argument's library.

`any_array` goes around a public function, outside of all that looks at its arguments: below it are ndarrays, and lists and
the like, which nobody expects back. No library is imported here: an array brings its own along.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import check, dtypes


def any_array(function: Callable[..., Any], retry: Callable[..., Any] | None = None,
              written: tuple[str, ...] = ("out",)) -> Any:
    """The function for arrays of any library, `out` included, which is returned as given; typed by its overloads.

    retry    what is called once all arrays are NumPy's, where something is faster with those than the function itself
    written  arguments that are written to: copies are refused, buffers taken for the arrays that they hold
    """
    names = inspect.unwrap(function).__code__.co_varnames

    @functools.wraps(function)
    def for_any_array(*arguments: Any, **options: Any) -> Any:
        if not (any(map(_is_foreign, arguments)) or any(map(_is_foreign, options.values()))
                or _is_foreign_out(options.get("out"))):
            return function(*arguments, **options)
        first, call = arguments[0] if arguments else options.get(names[0]), _Call(written)
        arguments = tuple(call.take(a, name) for a, name in zip(arguments, names, strict=False))
        options = {name: call.take(a, name) for name, a in options.items()}
        return call.give((retry or function)(*arguments, **options), _library_of(first))

    return for_any_array


class _Call:
    """The arrays of one call, as they were given and as NumPy's."""

    def __init__(self, written: tuple[str, ...]) -> None:
        self.written = written
        self.arrays: dict[int, NDArray[Any]] = {}  # by the id of what was given: in place, `out` is that again
        self.outs: list[tuple[NDArray[Any], Any]] = []

    def take(self, value: Any, name: str) -> Any:
        """An argument with its arrays as NumPy's."""
        if name == "out" and isinstance(value, (tuple, list)):
            return tuple(self.take_out(a, f"out[{i}]") for i, a in enumerate(value))
        if name in self.written:
            return self.take_out(value, name)
        return self.memory(value, name) if _is_foreign(value) else value

    def memory(self, value: Any, name: str) -> NDArray[Any]:
        """An array of another library as NumPy's, always the same one."""
        array = self.arrays.get(id(value))
        if array is None:
            array = self.arrays[id(value)] = check.memory(value, name)
        return array

    def take_out(self, value: Any, name: str) -> Any:
        """The same for what is written to."""
        array = value
        if _is_foreign_out(value):
            array = self.memory(value, name)
            check.is_no_copy(value, name, array)
        self.outs.append((array, value))
        return array

    def give(self, result: Any, library: Any) -> Any:
        """A result with `out` as it was given, and other arrays as the library's."""
        for array, given in self.outs:
            if result is array:
                return given
        if isinstance(result, tuple):
            return type(result)(*(self.give(field, library) for field in result))
        return _array_of(library, result) if library and isinstance(result, (np.ndarray, np.generic)) else result


def _is_foreign(value: Any) -> bool:
    """Whether it is an array of another library."""
    kind = type(value)  # an array's type may be an argument too, a dtype
    is_array = hasattr(kind, "__dlpack__") or hasattr(kind, "__array_namespace__")
    return is_array and not issubclass(kind, (np.ndarray, np.generic))


def _is_foreign_out(value: Any) -> bool:
    """Whether a place for results is an array of another library, or memory of another kind; or one of several is."""
    if value is None or isinstance(value, (np.ndarray, np.generic)):
        return False
    if isinstance(value, (tuple, list)):
        return any(a is not None and _is_foreign_out(a) for a in value)
    try:
        return _is_foreign(value) or bool(memoryview(value).format)
    except TypeError:
        return False


def _library_of(value: Any) -> Any:
    """The namespace that makes arrays like this one; None where they are NumPy's, or nobody says."""
    if not _is_foreign(value):
        return None
    if hasattr(value, "__array_namespace__"):
        return value.__array_namespace__()
    modules = (sys.modules.get(kind.__module__.partition(".")[0]) for kind in type(value).__mro__)
    return next((module for module in modules if hasattr(module, "from_dlpack")), None)  # torch, also for its subclasses


def _array_of(library: Any, result: Any) -> Any:
    """A result as an array of the library, over the same memory if the library can do that."""
    a = np.asarray(result)
    if dtypes.find(a.dtype) is dtypes.BF16:  # a dtype of DLPack's, but not of NumPy's
        return library.from_dlpack(a.view(np.int16)).view(library.bfloat16)
    return library.from_dlpack(a) if hasattr(library, "from_dlpack") else library.asarray(a)
