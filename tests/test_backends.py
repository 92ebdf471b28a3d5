"""Which backend and how many threads hold where: nested, after exceptions, in threads and in tasks."""

import asyncio
import threading
from pathlib import Path

import child
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import backends

WORKING = backends.available()
SETTINGS = [
    (fs.use_backend, fs.set_backend, backends.current, "numpy", WORKING[0]),
    (fs.use_num_threads, fs.set_num_threads, fs.get_num_threads, 3, 5),
]
each_setting = pytest.mark.parametrize(("use", "set_it", "current", "one", "two"), SETTINGS, ids=["backend", "threads"])


@each_setting
def test_blocks_nest_and_end(use, set_it, current, one, two):
    before = current()
    with use(one):
        assert current() == one
        with use(two):
            assert current() == two
            with use(one):
                assert current() == one
            assert current() == two
        assert current() == one
    assert current() == before


@each_setting
def test_an_exception_ends_a_block(use, set_it, current, one, two):
    before = current()
    with pytest.raises(KeyError), use(one), use(two):
        raise KeyError
    assert current() == before
    with use(one):
        with pytest.raises(fs.LabelError):
            fs.cross_entropy(np.zeros((1, 2)), [2])
        assert current() == one
        with pytest.raises((ValueError, TypeError)):
            use("nothing of the kind")
        assert current() == one
    assert current() == before


@each_setting
def test_a_setting_holds_in_every_thread_and_a_block_in_its_own(use, set_it, current, one, two):
    seen = []

    def look():
        seen.append(current())
        with use(two):
            seen.append(current())

    old = set_it(one)
    try:
        with use(two):
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            assert current() == two
        assert seen == [one, two] and current() == one
        assert set_it(two) == one and current() == two
    finally:
        set_it(old)


@each_setting
def test_a_block_holds_in_its_own_task(use, set_it, current, one, two):
    async def hold(setting, other):
        with use(setting):
            for _ in range(5):
                await asyncio.sleep(0)
                assert current() == setting
        return current()

    async def both():
        return await asyncio.gather(hold(one, two), hold(two, one))

    before = current()
    assert asyncio.run(both()) == [before, before] and current() == before


def test_auto_is_the_first_that_works():
    with fs.use_backend("auto"):
        assert backends.current() == WORKING[0]
    assert set(WORKING) <= set(backends.NAMES) and WORKING[-1] == "numpy"


def test_without_compiled_kernels_and_without_numba():
    """Each that is missing says so, once; the next serves."""
    code = """
import sys
sys.modules["fastsoftmax.backends._cpu"] = None
if "both" in sys.argv: sys.modules["numba"] = None
import fastsoftmax as fs
print(fs.softmax([0, 0]), fs.backends.current(), fs.backends.why_not("cython"))
print(fs.backends.why_not("numba"))
try: fs.set_backend("cython")
except ValueError as error: print(error)
"""
    first, second, third = child.run(code, "both").splitlines()
    folder = Path(fs.__file__).parents[1]  # the source tree, or where packages are installed
    advice = "the compiled kernels are not built: install a C compiler (gcc) and reinstall fastsoftmax"
    if (folder / "src_cython").is_dir():
        advice = (f"found in its source tree, {folder}, the compiled kernels are not built: start Python elsewhere to use "
                  "an installed package, or build them there: pip install -e .")
    assert first == "[0.5 0.5] numpy " + advice
    assert second == 'the Numba backend needs Numba: pip install "fastsoftmax[numba]"'
    assert third == f"name is 'cython', which is not available: {advice}"
    if "numba" in WORKING:
        assert child.run(code).startswith(f"[0.5 0.5] numba {advice}")


def test_show_config_and_warmup(backend, capsys):
    fs.warmup()
    fs.show_config()
    said = capsys.readouterr().out
    assert f"backend: {backend}, threads: {fs.get_num_threads()}" in said
    assert all(f"  {name}: " in said for name in backends.NAMES) and f"fastsoftmax {fs.__version__}" in said
