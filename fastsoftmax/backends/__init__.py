"""[2] Which backend runs: load(name), available(), why_not(name). Nothing is imported before it is needed."""

import contextlib
import contextvars
import functools
import importlib
import os

NAMES = ("cython", "numba", "numpy")  # in order of preference

_override = contextvars.ContextVar("fastsoftmax_backend", default=None)
_default = None
_loaded = {}


def load(name):
    """The backend's module; ImportError (with the remedy) where it cannot be had."""
    if name not in _loaded:
        _loaded[name] = importlib.import_module(f"{__name__}.{name}")
    return _loaded[name]


@functools.cache
def why_not(name):
    """None if the backend works here, else the reason, one line."""
    try:
        load(name)
    except ImportError as error:
        return str(error)
    return None


def available():
    """The names of the backends that work here, best first. Imports them."""
    return [name for name in NAMES if why_not(name) is None]


def current():
    """The name of the backend that a call made here and now would use."""
    name = _override.get() or get_default()
    return _best() if name == "auto" else name


@functools.cache
def _best():
    reason = why_not("cython")
    if reason and reason.startswith("FASTSOFTMAX_CPU"):
        raise ValueError(reason)  # a wish that cannot be had must not mean a slower backend without a word
    return next(name for name in NAMES if why_not(name) is None)


def _wish():
    return os.environ.get("FASTSOFTMAX_BACKEND") or "auto"


def get_default():
    """The process-wide setting: a name, or "auto". FASTSOFTMAX_BACKEND is read once."""
    global _default
    if _default is None:
        from ..check import backend_name

        _default = backend_name(_wish(), "FASTSOFTMAX_BACKEND")
    return _default


def set_default(name):
    """Set the process-wide backend, return the old setting."""
    global _default
    old, _default = _default or _wish(), name
    return old


@contextlib.contextmanager
def override(name):
    """This backend within the block, in this thread or task only."""
    token = _override.set(name)
    try:
        yield
    finally:
        _override.reset(token)
