import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import oracle
import pytest

import fastsoftmax as fs


def test_many_python_threads_at_once(backend):
    x, y = oracle.problem(32, 20_000)
    right = fs.cross_entropy(x, y)
    wrong = []

    def call():
        with fs.use_backend(backend):  # a new thread starts with the process-wide default
            for _ in range(10):
                if fs.cross_entropy(x, y) != right:
                    wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_errors_in_a_worker_reach_the_caller():
    from fastsoftmax.threads import each

    def task(i):
        if i == 5:
            raise MemoryError("five")
        return -1

    with pytest.raises(MemoryError, match="five"):
        each(task, [(i,) for i in range(20)], 4)
    assert each(lambda i: i if i > 3 else -1, [(i,) for i in range(20)], 4) == 4


FORK = """
import os, numpy as np, fastsoftmax as fs
x, y = np.ones((64, 50000), np.float32), np.zeros(64, int)
with fs.use_num_threads(4):
    before = fs.cross_entropy(x, y)
    pid = os.fork()
    after = fs.cross_entropy(x, y)
    if pid == 0:
        os._exit(0 if after == before else 1)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not support fork")
def test_fork_after_use(backend):
    env = {**os.environ, "FASTSOFTMAX_BACKEND": backend}
    assert subprocess.run([sys.executable, "-P", "-W", "ignore", "-c", FORK], env=env, timeout=60).returncode == 0


SPIN = """
import signal, numpy as np, fastsoftmax as fs
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it would be ignored
x, y = np.ones((2000, 50000), np.float32), np.zeros(2000, int)
fs.cross_entropy(x[:4], y[:4])
print("ready", flush=True)
while True:
    fs.cross_entropy(x, y)
"""


def test_ctrl_c_is_honoured_at_once(backend):
    env = {**os.environ, "FASTSOFTMAX_BACKEND": backend}
    child = subprocess.Popen([sys.executable, "-P", "-c", SPIN], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    start = time.perf_counter()
    try:
        _, error = child.communicate(timeout=30)
    finally:
        child.kill()
    assert b"KeyboardInterrupt" in error and time.perf_counter() - start < 5


def test_forcing_an_instruction_set_names_what_exists():
    env = {**os.environ, "FASTSOFTMAX_CPU": "z80"}
    code = "from fastsoftmax.backends import why_not; print(why_not('cython'))"
    said = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True).stdout
    assert "not built" in said or "'x86-64-v4', 'x86-64-v3', 'baseline'" in said


def test_peak_memory_of_the_gradient_in_place():
    code = """
import resource, numpy as np, fastsoftmax as fs
x, y = np.ones((64, 100000), np.float32), np.zeros(64, int)
with fs.use_backend("cython"):
    fs.cross_entropy_and_grad(x[:4].copy(), y[:4])
    fs.cross_entropy_and_grad(x, y, out=x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        fs.cross_entropy_and_grad(x, y, out=x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    if fs.backends.why_not("cython"):
        pytest.skip("no compiler: the Cython kernels are not built")
    assert int(subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True).stdout) < 1024


def test_rows_are_the_same_in_any_batch(backend):
    x, y = oracle.problem(40, 5003, ignored=False)
    together = fs.cross_entropy_and_grad(x, y, reduction="none")
    for i in (0, 17, 39):
        alone = fs.cross_entropy_and_grad(x[i], y[i], reduction="none")
        assert alone.loss == together.loss[i]
        np.testing.assert_array_equal(alone.dlogits, together.dlogits[i])
