"""What `import fastsoftmax` costs beyond NumPy, and what it leaves alone."""

import json
import os
import statistics
import subprocess
import sys

import pytest

import fastsoftmax as fs


def child(code):
    """What a fresh interpreter prints as JSON."""
    environment = {name: value for name, value in os.environ.items() if name != "FASTSOFTMAX_BACKEND"}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


TIMED = "import time, numpy; start = time.perf_counter(); import fastsoftmax; print(time.perf_counter() - start)"


def test_import_takes_less_than_150_ms_beyond_numpy():
    child(TIMED)  # the first may have to write .pyc files
    assert statistics.median(child(TIMED) for _ in range(7)) < 0.15


LOADED = """
import json, sys
before = set(sys.modules)
import fastsoftmax
{then}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
"""
OURS = {"fastsoftmax", "numpy", "cython_runtime"}
FIRST_CALL = "fastsoftmax.set_backend('cython'); fastsoftmax.softmax([0.0, 1.0])"


@pytest.mark.parametrize("then", ["", FIRST_CALL], ids=["import", "first call"])
def test_nothing_is_loaded_but_numpy_and_the_standard_library(then):
    if then and fs.backends.why_not("cython"):
        pytest.skip("no compiler: the Cython kernels are not built")
    loaded = set(child(LOADED.format(then=then)))
    assert {"fastsoftmax", "numpy"} <= loaded
    foreign = loaded - OURS - sys.stdlib_module_names
    assert not {name for name in foreign if not name.startswith("_cython_")}
