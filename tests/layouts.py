"""The same numbers otherwise in memory: every layout is a function of an array."""

import numpy as np


def plain(a):
    return np.ascontiguousarray(a)


def fortran(a):
    return np.asfortranarray(a)


def reverse(a):
    return np.ascontiguousarray(a[(slice(None, None, -1),) * a.ndim])[(slice(None, None, -1),) * a.ndim]


def reversed_rows(a):
    return np.ascontiguousarray(a[::-1])[::-1] if a.ndim > 1 else reverse(a)


def strided(a):
    """Every third class of a wider array."""
    wide = np.full((*a.shape[:-1], 3 * a.shape[-1]), 99, a.dtype)
    wide[..., ::3] = a
    return wide[..., ::3]


def sliced(a):
    """The middle of a wider array: classes side by side, rows apart."""
    wide = np.full((*a.shape[:-1], a.shape[-1] + 7), 99, a.dtype)
    wide[..., 3:-4] = a
    return wide[..., 3:-4]


def transposed(a):
    """The class axis first in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, 0)), 0, -1)


def swapped(a):
    """The other byte order; bfloat16 has none."""
    return a if a.dtype.name == "bfloat16" else a.astype(a.dtype.newbyteorder())


def in_line(size, dtype, skip):
    """An array that begins `skip` elements after the start of a cache line."""
    memory = np.zeros((size + skip) * np.dtype(dtype).itemsize + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :][: (size + skip) * np.dtype(dtype).itemsize].view(dtype)[skip:]


def unaligned(a):
    memory = np.zeros(a.nbytes + 1, np.uint8)
    memory[1:] = np.frombuffer(a.tobytes(), np.uint8)
    return memory[1:].view(a.dtype).reshape(a.shape)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {f.__name__: f for f in (plain, fortran, reverse, reversed_rows, strided, sliced, transposed, swapped,
                                   unaligned, read_only)}
