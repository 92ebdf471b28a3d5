"""[5] Where large results go: into the memory of an earlier one that is gone.

The system takes longer to hand out fresh pages than a kernel takes to fill them: 200 MB of gradient take 10 ms, their pages
20 or more. One block is kept, that of the last large result, and handed out again once no tensor shares its memory.
"""

import threading
import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGE_BYTES = 1 << 25  # what malloc maps afresh in any case; smaller blocks it keeps itself
_lock = threading.Lock()


class _Kept:
    """block: the memory; user: the array that tensors hold it by, a weak reference."""

    block: NDArray[np.uint8] | None = None
    user: Any = None


def empty_like(tensor: Tensor) -> Tensor:
    """torch.empty_like, in kept memory where it is large."""
    n_bytes = tensor.numel() * tensor.element_size()
    if n_bytes < LARGE_BYTES or not tensor.is_contiguous():
        return torch.empty_like(tensor)
    storage = torch.from_numpy(_room(n_bytes)).untyped_storage()
    return torch.empty(0, dtype=tensor.dtype).set_(storage, 0, tensor.shape, tensor.stride())


def empty_cache() -> None:
    """Give the kept memory back: at most that of the last large result, freed as soon as no tensor shares it."""
    with _lock:
        _Kept.block = _Kept.user = None


def _room(n_bytes: int) -> NDArray[np.uint8]:
    with _lock:
        block = _Kept.block
        if block is None or _Kept.user() is not None or not n_bytes <= block.nbytes <= 2 * n_bytes:
            _Kept.block = None  # given back before more is asked for
            del block
            block = _Kept.block = np.empty(n_bytes, np.uint8)  # in huge pages, which torch's own large tensors are not
        room = block[:n_bytes]
        _Kept.user = weakref.ref(room)
        return room
