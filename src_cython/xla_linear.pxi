# The handler of linear_cross_entropy, whose blocks Python plans: it takes the GIL, and hands XLA's buffers to a function of
# Python's as arrays over the same memory. What goes wrong there becomes an error of XLA's; no exception leaves the handler.
#
# A thread that asks for the GIL of a Python that ends is ended on the spot, and with it, through XLA's frames, the process.
# Hence calls are counted: Python ends when those under way are done, and no thread but its last one begins another.

import atexit
import os
import time

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.string cimport memcpy, strcpy

cdef extern from *:
    """
    static int64_t fastsoftmax_calls;
    static unsigned long fastsoftmax_last_thread;
    #define count_calls(n) __atomic_add_fetch(&fastsoftmax_calls, n, __ATOMIC_SEQ_CST)
    #define forget_calls() __atomic_store_n(&fastsoftmax_calls, 0, __ATOMIC_SEQ_CST)
    #define set_last_thread(id) __atomic_store_n(&fastsoftmax_last_thread, id, __ATOMIC_SEQ_CST)
    #define last_thread() __atomic_load_n(&fastsoftmax_last_thread, __ATOMIC_SEQ_CST)
    """
    int64_t count_calls(int64_t) noexcept nogil
    void forget_calls() noexcept nogil
    void set_last_thread(unsigned long) noexcept nogil
    unsigned long last_thread() noexcept nogil
    unsigned long PyThread_get_thread_ident() noexcept nogil
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
    atexit.register(_end)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)


def _end():
    """Python ends in this thread: wait for the others."""
    set_last_thread(PyThread_get_thread_ident())
    while count_calls(0) > 0:
        time.sleep(0.001)


def _forget():
    """In a child of fork() the threads that were under way are none."""
    forget_calls()


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
    cdef unsigned long last
    if is_question(frame):
        return describe(frame)
    if not is_readable(frame):
        return fail(frame.api, XLA_FAILED_PRECONDITION, OTHER_XLA)
    if not is_linear(frame):
        return fail(frame.api, XLA_FAILED_PRECONDITION, OTHER_DOOR)
    outcome.code = XLA_INTERNAL
    strcpy(outcome.text, "an error that cannot be told")
    count_calls(1)
    last = last_thread()
    if last and last != PyThread_get_thread_ident():
        outcome.code = XLA_FAILED_PRECONDITION
        strcpy(outcome.text, "Python, which linear_cross_entropy needs, is ending")
    else:
        call_python(frame, &outcome)
    count_calls(-1)
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
