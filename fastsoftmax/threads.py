"""[2] How many threads, and the pool of Python threads over kernels that release the GIL. Fork-safe, re-entrant.

The caller's own thread takes a share, so a call on n threads wakes n - 1 workers. Work comes in slices of a few
milliseconds; between slices the caller can be interrupted (Ctrl-C) and the workers notice. A backend whose kernels have
threads of their own (the Cython backend: src_cython/pool.h) is given all slices at once.
"""

import contextlib
import contextvars
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

_override = contextvars.ContextVar("fastsoftmax_num_threads", default=None)
_default = None
_pool = None
_pool_size = 0
_lock = threading.Lock()


def _forget_pool():
    """After fork the child has none of the parent's threads: start afresh."""
    global _pool, _pool_size, _lock
    _pool, _pool_size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _cpus():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_num_threads():
    """How many threads a large call uses now."""
    global _default
    override = _override.get()
    if override is not None:
        return override
    if _default is None:
        from .check import thread_count

        text = os.environ.get("FASTSOFTMAX_NUM_THREADS")
        _default = thread_count(text, "FASTSOFTMAX_NUM_THREADS") if text else _cpus()
    return _default


def set_default(n):
    """Set the process-wide number of threads, return the old one."""
    global _default
    old, _default = get_num_threads(), n
    return old


@contextlib.contextmanager
def override(n):
    """n threads within the block, in this thread or task only."""
    token = _override.set(n)
    try:
        yield
    finally:
        _override.reset(token)


def _workers(n):
    global _pool, _pool_size
    with _lock:
        if _pool_size < n:
            old, _pool = _pool, ThreadPoolExecutor(n, thread_name_prefix="fastsoftmax")
            _pool_size = n
            if old is not None:
                old.shutdown(wait=False)
        return _pool


def each(task, slices, n_threads):
    """Call task(*s) for every slice, on n_threads threads; return the least of the results >= 0, or -1.

    Which thread takes which slice is left to chance: a slice's result must not depend on it.
    """
    if len(slices) == 1:
        return task(*slices[0])
    if hasattr(task, "each"):
        return task.each(slices, n_threads)
    n_threads = min(n_threads, len(slices))
    if n_threads <= 1:
        return _least(task(*s) for s in slices)
    ticket, stop = itertools.count(), threading.Event()

    def drain():
        results = []
        while not stop.is_set() and (t := next(ticket)) < len(slices):
            results.append(task(*slices[t]))
        return _least(results)

    futures = [_submit(n_threads - 1, drain) for _ in range(n_threads - 1)]
    try:
        found = [drain()]
    except BaseException:
        stop.set()
        raise
    finally:
        outcomes = [f.exception() for f in futures]
    for error in outcomes:
        if error is not None:
            raise error
    return _least(found + [f.result() for f in futures])


def _submit(n_workers, task):
    try:
        return _workers(n_workers).submit(task)
    except RuntimeError:  # the pool was replaced by a larger one between the two calls
        return _workers(n_workers).submit(task)


def _least(results):
    return min((r for r in results if r >= 0), default=-1)
