"""[1] Compiled kernels are kept in the user's own cache folder; a broken or read-only one means compiling again.

Numba's own choice would be beside the source, and its stamp would know one file only: a change to a helper
module would go unnoticed. The files are pickles, so a folder that belongs to somebody else is never read.
"""

import hashlib
import os
from functools import lru_cache, partial
from pathlib import Path

from numba import config, njit
from numba.core import caching
from numba.core.runtime.nrt import rtsys
from numba.misc.appdirs import AppDirs

# contract fuses a*b + c; error_model="numpy": x/0 is inf, without a branch. Never nnan or ninf: -inf is ordinary.
OPTIONS = dict(nogil=True, error_model="numpy")
INNER = dict(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by compiled code alone: half of what is to be made
jit = partial(njit, **OPTIONS, **INNER, fastmath={"contract"})
inlined = partial(njit, **OPTIONS, **INNER, fastmath={"contract"}, forceinline=True)
# pasted into the caller before anything is optimised: f(out, out) is then seen to read and write one array,
# whereas LLVM, given f(z, out) alone, adds a check for overlap that sends the in-place call to a scalar loop
pasted = partial(njit, **OPTIONS, inline="always")
sum_jit = partial(njit, **OPTIONS, **INNER, fastmath={"reassoc", "contract", "nsz"})  # reassoc: a sum may use vector lanes


@lru_cache(maxsize=1)
def _stamp():
    """A hash of every file that the kernels are made of."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("_numba_*.py")), here / "numba.py", here.parent / "contract.py",
             *sorted((here.parent / "numba").glob("*.py"))]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


class _Locator(caching.UserWideCacheLocator):
    """NUMBA_CACHE_DIR where the user has set it, else the user's cache folder."""

    def __init__(self, py_func, py_file):
        super().__init__(py_func, py_file)
        root = config.CACHE_DIR or AppDirs(appname="fastsoftmax", appauthor=False).user_cache_dir
        self._cache_path = os.path.join(root, self.get_suitable_cache_subpath(py_file))

    def ensure_cache_path(self):
        os.makedirs(self._cache_path, mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and os.stat(self._cache_path).st_uid != os.getuid():
            raise PermissionError(f"{self._cache_path} belongs to another user")
        super().ensure_cache_path()

    def get_source_stamp(self):
        return _stamp()


class _Impl(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _Cache(caching.FunctionCache):
    """A cache that never fails: whatever goes wrong, the kernel is compiled."""

    _impl_class = _Impl

    def load_overload(self, sig, target_context):
        """FunctionCache's, but of refresh() only the runtime: what is compiled needs none of the functions that Numba
        knows, whose registration takes 0.2 s with its import of SciPy. Compiling refreshes by itself."""
        try:
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception:
            pass


class _CacheOfMore(_Cache):
    """Of a function that calls others, given to it: kept apart by those, whose files are looked at as Numba does."""

    def __init__(self, function, others):
        super().__init__(function)
        self._others = others

    def _index_key(self, sig, codegen):
        parts = [(other.py_func.__code__.co_filename, other.py_func.__qualname__, other.py_func.__code__.co_firstlineno,
                  other._cache._impl.locator.get_source_stamp(), other._cache._index_key(sig, codegen)[2])
                 for other in self._others]
        return sig, codegen.magic_tuple(), *parts


def kernel(function, others=(), fastmath=("contract",)):
    """jit, compiled at the first call with each dtype, kept across processes.

    others: functions of a user that it calls; it is kept where those are, and changes with them."""
    dispatcher = njit(function, **OPTIONS, fastmath=set(fastmath))
    if any(isinstance(other._cache, caching.NullCache) for other in others):
        return dispatcher
    try:
        dispatcher._cache = _CacheOfMore(function, others) if others else _Cache(function)
    except Exception:  # no folder to write in, or a Numba whose insides have moved
        pass
    return dispatcher
