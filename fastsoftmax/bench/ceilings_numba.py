"""The passes of ceilings.py for machines where the Cython kernels are not built."""

import numba
import numpy as np


@numba.njit(nogil=True)
def _read(words):
    seen = np.int64(0)
    for i in range(words.size):  # integers: a sum of floats would be in order, one at a time
        seen ^= words[i]
    return seen


@numba.njit(nogil=True)
def update_pass(a):
    """Add 1 to a float32 array in place."""
    for i in range(a.size):
        a[i] += np.float32(1)


@numba.njit(nogil=True)
def copy_pass(a, out):
    """Copy a float32 array; LLVM makes a memcpy of it, which goes past the caches where it is long."""
    for i in range(a.size):
        out[i] = a[i]


def read_pass(a):
    """Read a float32 array once, up to a last odd element."""
    return _read(a[:a.size // 2 * 2].view(np.int64))
