"""Forks before, after and during use, from any thread, and the three ways of multiprocessing."""

import os

import child
import pytest

from fastsoftmax import backends

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not support fork")


def run(code, backend):
    """What it printed; forking beside threads warns from Python 3.12 on, which is the very thing done here."""
    return child.run(code, FASTSOFTMAX_BACKEND=backend, FASTSOFTMAX_NUM_THREADS="4", PYTHONWARNINGS="ignore")


PROBLEM = """
import os, sys, threading, numpy as np, fastsoftmax as fs

def compute():
    # rows are split among the threads in the one, classes in the other
    x = np.random.default_rng(0).normal(size=(1, 1_200_000)).astype(np.float32)
    parts = fs.cross_entropy_and_grad(x.reshape(120, 10_000), np.arange(120)), fs.cross_entropy_and_grad(x, [7])
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

FORK_IN_A_HANDLER = """
import os, signal, sys, threading, numpy as np, fastsoftmax as fs

logits = np.broadcast_to(np.zeros(50_000, np.float32), (100_000, 50_000))
labels, pid = np.zeros(100_000, int), []

def fork(*_):
    pid.append(os.fork())

signal.signal(signal.SIGALRM, fork)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    fs.cross_entropy(logits, labels)
except RuntimeError as error:
    assert pid == [0] and "forked" in str(error)
    small = fs.cross_entropy(logits[:64], labels[:64])  # the child has threads of its own from now on
    os._exit(7 if abs(small - np.log(50_000)) < 1e-6 else 1)
assert pid and pid[0]
print(os.waitstatus_to_exitcode(os.waitpid(pid[0], 0)[1]))
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
import multiprocessing
from oracle import gradient_bits

right = [gradient_bits(seed) for seed in range(3)]
for method in multiprocessing.get_all_start_methods():
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(gradient_bits, range(3)) == right, method
print("done")
"""


def test_multiprocessing(backend):
    """spawn, forkserver and fork, as far as the system has them: the children give the parent's bits."""
    assert run(MULTIPROCESSING, backend) == "done\n"


@forks
@pytest.mark.every_backend
@pytest.mark.skipif(bool(backends.why_not("cython")), reason="no compiler: the Cython kernels are not built")
def test_a_signal_handler_that_forks_in_the_midst_of_a_call():
    """Other threads had begun a part of the work, which the child lacks: it is told so; the parent goes on."""
    assert run(FORK_IN_A_HANDLER, "cython").strip() == "7"
