"""[5] linear_cross_entropy over NumPy arrays: what XLA's handler and the callback both end in.

A call is described by a text, so that a compiled program stands for itself, in another process too.
"""

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import api, api_linear, check


class Call(NamedTuple):
    """backend and n_threads stand among the options; names: of the arguments, in order; wrt: of the gradients wanted."""

    options: dict[str, Any]
    names: tuple[str, ...]
    wrt: tuple[Any, ...]


def text_of(call: Call) -> str:
    """The call as a compiled program keeps it."""
    return json.dumps(call._asdict())


@functools.lru_cache(maxsize=1024)
def _call_of(text: bytes | str) -> Call:
    found = json.loads(text)
    return Call(found["options"], tuple(found["names"]), tuple(found["wrt"]))


def fill(text: bytes | str, arguments: Sequence[Any], results: Sequence[Any]) -> None:
    """Compute into `results`: the loss, and the gradients of `wrt` in their order."""
    call = _call_of(text)
    keywords = {**call.options, **dict(zip(call.names, arguments, strict=True))}
    backend, n_threads = keywords.pop("backend"), keywords.pop("n_threads")
    loss, *gradients = results
    with api.use_backend(backend), api.use_num_threads(n_threads), np.errstate(all="ignore"):
        if call.wrt:
            places = dict(zip(call.wrt, gradients, strict=True))
            out: Any = tuple(places.get(name) for name in check.GRADIENTS)
            loss[...] = api_linear.linear_cross_entropy_and_grad(**keywords, wrt=call.wrt, out=out).loss
        else:
            loss[...] = api_linear.linear_cross_entropy(**keywords)
