"""What `import fastsoftmax` costs beyond NumPy, and what it leaves alone."""

import json
import statistics
import sys

import child
import pytest

import fastsoftmax as fs

TIMED = "import time, numpy; start = time.perf_counter(); import fastsoftmax; print(time.perf_counter() - start)"


def test_import_takes_less_than_150_ms_beyond_numpy():
    child.run(TIMED)  # the first may have to write .pyc files
    assert statistics.median(float(child.run(TIMED)) for _ in range(7)) < 0.15


LOADED = """
import json, sys
before = set(sys.modules)
import fastsoftmax
{then}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
OURS = {"fastsoftmax", "numpy", "cython_runtime"}  # beside a _cython_3_1_0, by version


@pytest.mark.parametrize(("then", "backend"), [("", []), ("fastsoftmax.softmax([0.0, 1.0])", ["cython"])],
                         ids=["import", "first call"])
def test_nothing_is_loaded_but_numpy_and_the_standard_library(then, backend):
    if then and fs.backends.why_not("cython"):
        pytest.skip("no compiler: the Cython kernels are not built")
    loaded = json.loads(child.run(LOADED.format(then=then)))
    roots = {name.partition(".")[0] for name in loaded}
    assert {"fastsoftmax", "numpy"} <= roots
    assert not {name for name in roots - OURS - sys.stdlib_module_names if not name.startswith("_cython_")}
    assert [name for name in fs.backends.NAMES if f"fastsoftmax.backends.{name}" in loaded] == backend
