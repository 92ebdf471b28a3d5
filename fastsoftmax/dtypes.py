"""[0] The one table of dtypes: what is stored, what carries it, what it is computed in, how exact it is."""

import functools
from typing import NamedTuple

import numpy as np


class Dtype(NamedTuple):
    """One row of the table.

    ``code`` numbers the row in the compiled kernels; ``carrier`` is the plain NumPy dtype a kernel sees;
    ``real`` is what exp and the elements are computed in (sums are always float64); ``eps`` is the unit
    roundoff of the stored result; ``ulp_budget`` what a kernel may add to the error of plain NumPy.
    """

    name: str
    suffix: str
    code: int
    itemsize: int
    carrier: np.dtype
    real: np.dtype
    eps: float
    ulp_budget: int


F64 = Dtype("float64", "f64", 0, 8, np.dtype("f8"), np.dtype("f8"), 2.0**-53, 4)
F32 = Dtype("float32", "f32", 1, 4, np.dtype("f4"), np.dtype("f4"), 2.0**-24, 4)
BF16 = Dtype("bfloat16", "bf16", 2, 2, np.dtype("u2"), np.dtype("f4"), 2.0**-8, 1)
# float16's carrier is SIGNED, so that Numba, which has no float16, can tell the two by type.
F16 = Dtype("float16", "f16", 3, 2, np.dtype("i2"), np.dtype("f4"), 2.0**-11, 1)

TABLE = (F64, F32, BF16, F16)
BY_NAME = {row.name: row for row in TABLE}


@functools.lru_cache
def find(dtype):
    """The table's row for a NumPy dtype in native or swapped byte order, or None.

    bfloat16 is known by its name: it is a dtype of ml_dtypes, which is not imported for it. A name takes 2 us to make.
    """
    return BY_NAME.get(dtype.name)


def carrier_view(array, row):
    """The same memory as the kernels take it: 16-bit floats become 16-bit integers."""
    return array if row.itemsize > 2 else array.view(row.carrier)
