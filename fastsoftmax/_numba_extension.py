"""[5] What Numba calls before it compiles anything (entry point `numba_extensions`): the public functions become known.

It costs the import of fastsoftmax. Kernels, and whatever decides how a call is compiled, are imported at the first one.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from . import api

NAMES = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_and_grad", "soft_cross_entropy",
         "soft_cross_entropy_and_grad")


@functools.cache
def init() -> None:
    """Tell Numba whom to ask about them: once, since what is told twice is tried twice."""
    from numba.extending import overload

    for name in NAMES:
        # strict: an implementation lacks the `*` of its function, which Numba cannot compile; that options are keywords is
        # seen to where it is asked for
        overload(getattr(api, name), prefer_literal=True, strict=False)(_resolver(name))


def _resolver(name: str) -> Callable[..., Any]:
    def resolve(*arguments: Any, **options: Any) -> Any:
        from numba.core.errors import TypingError

        from .numba import public

        function = getattr(public, name)
        try:
            inspect.signature(function).bind(*arguments, **options)
        except TypeError as error:
            raise TypingError(f"{name}: {error}") from None
        return function(*arguments, **options)

    return resolve
