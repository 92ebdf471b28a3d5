# The handler of linear_cross_entropy, whose blocks Python plans: it takes the GIL, and hands XLA's buffers to a function of
# Python's as arrays over the same memory. What goes wrong there becomes an error of XLA's; no exception leaves the handler.

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.string cimport memcpy

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030D0000
    #define python_is_ending Py_IsFinalizing
    #else
    #define python_is_ending _Py_IsFinalizing
    #endif
    """
    bint python_is_ending() noexcept nogil
    void PyErr_SetInterrupt() noexcept

cdef struct Outcome:
    int code        # 0, or that of an error
    char text[1024]

cdef object compute_linear = None  # (the call in words, arguments, results to be filled)
cdef object new_array = None
cdef dict dtypes_of_xla = {}


def compute_linear_by(function, array_type, dtypes):
    """Have the handler call function(text, arguments, results); dtypes: names and what NumPy has for them."""
    global compute_linear, new_array
    codes = dict(int8=XLA_S8, int16=XLA_S16, int32=XLA_S32, int64=XLA_S64, uint8=XLA_U8, uint16=XLA_U16, uint32=XLA_U32,
                 uint64=XLA_U64, float16=XLA_F16, float32=XLA_F32, float64=XLA_F64, bfloat16=XLA_BF16)
    for name, code in codes.items():
        dtypes_of_xla[code] = dtypes(name)
    new_array, compute_linear = array_type, function


cdef object array_over(const XlaBuffer *buffer, int access):
    """A buffer's memory as an array, which must not outlive the call."""
    cdef int64_t i, size = 1
    dtype = dtypes_of_xla.get(buffer.dtype)
    if dtype is None:
        raise TypeError(f"an array has a dtype that fastsoftmax does not know, XLA's number {buffer.dtype}")
    shape = tuple([buffer.dims[i] for i in range(buffer.rank)])
    for i in range(buffer.rank):
        size *= buffer.dims[i]
    if size == 0:
        return new_array(shape, dtype)  # its memory may be NULL
    return new_array(shape, dtype, PyMemoryView_FromMemory(<char *>buffer.data, size * <int>dtype.itemsize, access))


cdef bint is_linear(const XlaFrame *frame) noexcept nogil:
    """Whether the frame is as fastsoftmax.jax makes it: one attribute, a text, and buffers."""
    cdef int64_t i
    if frame.stage != XLA_EXECUTE or frame.attributes.size != 1 or frame.attributes.types[0] != XLA_STRING:
        return False
    for i in range(frame.arguments.size):
        if frame.arguments.types[i] != XLA_BUFFER:
            return False
    for i in range(frame.results.size):
        if frame.results.types[i] != XLA_BUFFER:
            return False
    return True


cdef XlaError *handle_linear(XlaFrame *frame) noexcept nogil:
    cdef Outcome outcome
    if is_question(frame):
        return describe(frame)
    if not is_readable(frame):
        return fail(frame.api, XLA_FAILED_PRECONDITION, OTHER_XLA)
    if not is_linear(frame):
        return fail(frame.api, XLA_FAILED_PRECONDITION, OTHER_DOOR)
    if python_is_ending():  # a thread that asks for the GIL now never comes back
        return fail(frame.api, XLA_FAILED_PRECONDITION, "Python is ending, which linear_cross_entropy needs")
    outcome.code = XLA_INTERNAL
    memcpy(outcome.text, "an error that cannot be told", 29)
    call_python(frame, &outcome)
    return fail(frame.api, outcome.code, outcome.text) if outcome.code else NULL


cdef void call_python(const XlaFrame *frame, Outcome *outcome) noexcept with gil:
    cdef const XlaSpan *words = <const XlaSpan *>frame.attributes.items[0]
    cdef int64_t i
    try:
        arguments = [array_over(<XlaBuffer *>frame.arguments.items[i], PyBUF_READ) for i in range(frame.arguments.size)]
        results = [array_over(<XlaBuffer *>frame.results.items[i], PyBUF_WRITE) for i in range(frame.results.size)]
        compute_linear(words.text[:words.length], arguments, results)
        outcome.code = 0
    except BaseException as error:
        tell(error, outcome)


cdef int tell(error, Outcome *outcome) except -1:
    """Code and text of an exception. What it was raised for by a signal is raised once more, where Python goes on."""
    cdef bytes text
    words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    text = words.encode("ascii", "backslashreplace")[:sizeof(outcome.text) - 1]
    memcpy(outcome.text, <const char *>text, len(text) + 1)
    if isinstance(error, KeyboardInterrupt):
        outcome.code = XLA_CANCELLED
        PyErr_SetInterrupt()
    elif isinstance(error, ValueError):
        outcome.code = XLA_INVALID_ARGUMENT
    elif isinstance(error, MemoryError):
        outcome.code = XLA_RESOURCE_EXHAUSTED
    return 0


linear_handler = PyCapsule_New(<void *>handle_linear, NULL, NULL)
