"""Forks before, after and during use, from any thread, and the three ways of multiprocessing."""

import os
import subprocess
import sys

import pytest

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not support fork")


def run(code, backend):
    """Python's exit code and output; forking beside threads warns from 3.12 on, which is the very thing done here."""
    env = {**os.environ, "FASTSOFTMAX_BACKEND": backend, "FASTSOFTMAX_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-P", "-W", "ignore", "-c", code], env=env, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr or f"exit code {done.returncode}"
    return done.stdout


PROBLEM = """
import os, sys, threading, numpy as np, fastsoftmax as fs

def compute():
    # rows are split among the threads in the one, classes in the other
    x = np.random.default_rng(0).normal(size=(1, 300_000)).astype(np.float32)
    parts = fs.cross_entropy_and_grad(x.reshape(30, 10_000), np.arange(30)), fs.cross_entropy_and_grad(x, [7])
    return b"".join(np.asarray(a).tobytes() for part in parts for a in part)

def in_child(right=None):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            got = compute()
            code = 0 if right is None or got == right else 2
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, code
"""

FORKS = PROBLEM + """
in_child()  # before any use
right = compute()
in_child(right)  # after use: the pool's threads are not there
assert compute() == right  # and the parent goes on

raised = []
def from_a_thread():
    try:
        in_child(right)
        assert compute() == right
    except BaseException as error:
        raised.append(error)
thread = threading.Thread(target=from_a_thread)
thread.start()
thread.join()
assert not raised, raised

pid = os.fork()  # a child that used it forks in its turn
if pid == 0:
    code = 1
    try:
        assert compute() == right
        in_child(right)
        code = 0
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("done")
"""

FORK_DURING = PROBLEM + """
right = compute()
stop, wrong = threading.Event(), []

def busy():
    while not stop.is_set():
        if compute() != right:
            wrong.append(1)

others = [threading.Thread(target=busy) for _ in range(2)]
[t.start() for t in others]
for _ in range(4):
    in_child(right)
stop.set()
[t.join() for t in others]
assert not wrong
print("done")
"""


@forks
def test_fork_before_after_and_from_a_thread(backend):
    assert run(FORKS, backend) == "done\n"


@forks
def test_fork_while_other_threads_compute(backend):
    assert run(FORK_DURING, backend) == "done\n"


MULTIPROCESSING = """
import multiprocessing, sys, numpy as np, fastsoftmax as fs

def compute(seed):
    x = np.random.default_rng(seed).normal(size=(64, 5_000)).astype(np.float32)
    loss, dlogits, _ = fs.cross_entropy_and_grad(x, np.arange(64))
    return loss, dlogits.tobytes()

if __name__ == "__main__":
    right = [compute(seed) for seed in range(3)]
    for method in sys.argv[1:]:
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(compute, range(3)) == right, method
    print("done")
"""


def test_multiprocessing(backend, tmp_path):
    """spawn, forkserver and fork, as far as the system has them: the children give the parent's bits."""
    import multiprocessing

    script = tmp_path / "script.py"
    script.write_text(MULTIPROCESSING)
    env = {**os.environ, "FASTSOFTMAX_BACKEND": backend, "FASTSOFTMAX_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-P", str(script), *multiprocessing.get_all_start_methods()], env=env,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr
