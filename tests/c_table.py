"""The C API's table of functions, called by its addresses: what fastsoftmax.h says, once more for ctypes."""

import ctypes
from ctypes import POINTER, c_double, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p

OK, BAD_DTYPE, BAD_SIZE, BAD_POINTER, BAD_STRIDE, BAD_OPTION = range(-1, -7, -1)
CAPSULE = b"fastsoftmax.cython_api._C_API"


class Options(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("class_weight", c_void_p), ("sample_weight", c_void_p), ("dlosses", c_void_p),
                ("grad_scale", c_double), ("temperature", c_double), ("softcap", c_double), ("label_smoothing", c_double),
                ("z_loss", c_double), ("ignore_index", c_int64), ("n_threads", c_int32), ("reserved", c_int32)]

    def __init__(self, **changed):
        defaults = dict(struct_size=ctypes.sizeof(self), grad_scale=1, temperature=1, ignore_index=-100, n_threads=1)
        super().__init__(**(defaults | changed))


SHAPE, ROWS, PER_ROW = (c_int, c_int64, c_int64), (c_void_p, c_int64), (c_void_p,)
FUNCTIONS = {
    "softmax": ROWS + ROWS,
    "log_softmax": ROWS + ROWS,
    "logsumexp": ROWS + PER_ROW,
    "cross_entropy": ROWS + 3 * PER_ROW + ROWS,
    "soft_cross_entropy": ROWS + ROWS + 2 * PER_ROW + ROWS,
    "softmax_grad": 3 * ROWS,
    "log_softmax_grad": 3 * ROWS,
    "scan_labels": 2 * PER_ROW,
}


class Table(ctypes.Structure):
    _fields_ = [("version", c_uint32), ("reserved", c_uint32), ("struct_size", c_size_t), ("options_size", c_size_t),
                *((name, ctypes.CFUNCTYPE(c_int64, *SHAPE, *types, POINTER(Options))) for name, types in FUNCTIONS.items())]


def table():
    """The one of the kernels that this process has chosen."""
    from fastsoftmax import cython_api

    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return Table.from_address(pointer(cython_api._C_API, CAPSULE))
