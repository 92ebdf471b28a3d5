"""What is Numba's own: conversions of 16-bit numbers, and the cache of compiled kernels."""

import sys

import child
import numpy as np
import pytest
from operations import dtype_of

import fastsoftmax as fs
from fastsoftmax import dtypes

numba = pytest.importorskip("numba")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_numbers_round_as_they_should(dtype):
    from fastsoftmax.backends import _numba_math as m

    @numba.njit
    def load(stored, real):
        for k in range(len(stored)):
            real[k] = m.real_of(stored[k])

    @numba.njit
    def store(real, stored):
        for k in range(len(real)):
            m.put(stored, k, real[k])

    kind, carrier = dtype_of(dtype), dtypes.BY_NAME[dtype].carrier
    every = np.arange(1 << 16, dtype=np.uint16)
    real = np.empty(1 << 16, np.float32)
    load(every.view(carrier), real)
    np.testing.assert_array_equal(real, every.view(kind).astype("f4"))
    # every number, the middles between neighbours, their neighbours, and any bits at all
    spread = np.random.default_rng(0).integers(0, 2**32, 1 << 18, dtype=np.uint32).view("f4")
    with np.errstate(all="ignore"):
        middle = (real[:-1] + real[1:]) / 2
        values = np.concatenate([real, middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf), spread])
        right = values.astype(kind)
    stored = np.empty(len(values), carrier)
    store(values, stored)
    nan = np.isnan(values)
    np.testing.assert_array_equal(stored.view(np.uint16)[~nan], right.view(np.uint16)[~nan])
    assert np.isnan(stored.view(kind)[nan].astype("f4")).all()


@pytest.mark.parametrize("keyword", ["dlosses", "sample_weight"])
def test_a_nan_of_any_bits_stays_one_in_bfloat16(keyword):
    """Whose rounding adds below the cut: a NaN of ones alone would become -0."""
    logits = np.zeros((2, 300), dtype_of("bfloat16"))
    factor = np.array([0x7FFFFFFFFFFFFFFF, 0x3FF0000000000000], np.uint64).view("f8")
    with fs.use_backend("numba"):
        dlogits = fs.cross_entropy_and_grad(logits, np.zeros(2, int), reduction="none", **{keyword: factor}).dlogits
    is_nan = np.isnan(dlogits.astype("f4"))
    assert is_nan[0].all() and not is_nan[1].any()


TAILS = """
import sys, numba, numpy as np
from fastsoftmax.backends import _numba_memory as memory, _numba_vec as vec
from guarded import guarded

@numba.njit
def tail(x, out, n):
    x, out = memory.of(x), memory.of(out)
    a, b = vec.full(out, 2.0), vec.full(out, 1.0 + n)
    v = vec.keep_some(vec.fma(memory.load_some(x, 0, n, 0.0), a, b), n)
    memory.store_pair(out, 0, v, a)
    memory.store_pair(out, 32, b, v)

for dtype in ("f8", "f4", "u2", "i2"):
    for n in (1, 3, 5, 7):
        tail(guarded(np.zeros(n, dtype), True), np.zeros(64, "f4" if dtype != "f8" else "f8"), n)
print("inside")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no mprotect")
def test_a_masked_load_keeps_its_mask():
    """LLVM 22 takes it out of a masked operation without one, where the operation's other operands are needed again."""
    assert child.run(TAILS) == "inside\n"


# the smallest of the kernels: what is tested is where it is kept. Whatever compiles has Numba register all it knows.
SCRIPT = """
import sys
import numpy as np
from fastsoftmax import backends
bad, total = backends.load("numba").scan_labels(np.array([1, 0]), 2, -100, None, None)
print(bad, total, "compiled" if "numba.np.arraymath" in sys.modules else "loaded")
"""


def test_a_cache_that_cannot_be_used_means_compiling_again(tmp_path):
    """Broken files, a file in the way of the folder; and files lie in the user's own folder, not in the temporary one."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "temporary").mkdir()
    own = {"XDG_CACHE_HOME": str(tmp_path / "own"), "TMPDIR": str(tmp_path / "temporary"), "NUMBA_CACHE_DIR": ""}

    def end(process, what):
        assert child.end(process)[:2] == (0, f"-1 2.0 {what}\n")

    first, blocked = child.start(SCRIPT, **own), child.start(SCRIPT, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    end(first, "compiled")
    end(blocked, "compiled")
    if sys.platform == "linux":
        files = [*(tmp_path / "own" / "fastsoftmax").rglob("*.nb?")]
        assert files and not any((tmp_path / "temporary").iterdir())
        assert (files[0].parent.stat().st_mode & 0o777) == 0o700
        end(child.start(SCRIPT, **own), "loaded")
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(b"not a pickle")
    end(child.start(SCRIPT, **own), "compiled")
