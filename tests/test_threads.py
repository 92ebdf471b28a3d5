"""Many Python threads at once, the pool, and Ctrl-C in the middle of a call."""

import os
import subprocess
import sys
import threading

import checks
import child
import numpy as np
import oracle
import pytest
from operations import OPERATIONS, inputs_of

import fastsoftmax as fs
from fastsoftmax.threads import each


def at_once(tasks):
    """Run all tasks, each in a thread of its own, from one start; return what they raised."""
    start, raised = threading.Barrier(len(tasks)), []

    def run(task):
        start.wait()
        try:
            task()
        except BaseException as error:  # an AssertionError in a thread must reach the test
            raised.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return raised


def test_many_python_threads_at_once(backend):
    """Eight callers with one to seven threads each, every operation, and bad labels in between."""
    shape = (30, 20_000)
    problems = {name: inputs_of(name, shape, "float32") for name in OPERATIONS}
    right = {name: OPERATIONS[name](*inputs) for name, inputs in problems.items()}
    x, labels = problems["cross_entropy"]
    wrong = np.where(np.arange(len(labels)) == 9, 20_000, labels)

    def caller(n):
        def call():
            with fs.use_backend(backend), fs.use_num_threads(n):  # a new thread starts with the process-wide setting
                for name, inputs in problems.items():
                    checks.check_same_bits(OPERATIONS[name](*inputs), right[name])
                    out = np.full(shape, 7, np.float32)
                    checks.check_refused(lambda o=out: fs.cross_entropy_and_grad(x, wrong, out=o), fs.LabelError,
                                         r"labels\[9\] is 20000", out)
        return call

    assert at_once([caller(n) for n in (1, 2, 3, 4, 5, 6, 7, 7)]) == []


def test_errors_in_a_worker_reach_the_caller():
    def task(i):
        if i == 5:
            raise MemoryError("five")
        return -1

    with pytest.raises(MemoryError, match="five"):
        each(task, [(i,) for i in range(20)], 4)
    assert each(lambda i: i if i > 3 else -1, [(i,) for i in range(20)], 4) == 4
    assert each(lambda i: -1, [(i,) for i in range(20)], 4) == -1 and each(lambda i: 0, [], 4) == -1


def test_every_slice_is_done_once():
    done = []
    assert each(lambda i: done.append(i) or -1, [(i,) for i in range(1000)], 7) == -1
    assert sorted(done) == list(range(1000))


INTERRUPTED = """
import os, signal, sys, threading, time, numpy as np, fastsoftmax as fs

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
fs.set_backend(sys.argv[1])
fs.set_num_threads(2)
small, labels = np.random.default_rng(0).normal(size=(64, 50_000)).astype(np.float32), np.zeros(64, int)
right = fs.cross_entropy_and_grad(small, labels)
# rows of one row's memory: minutes of work in a single call; read in place, and copied a few at a time
row = np.zeros(50_000, np.float32)
for logits in (np.broadcast_to(row, (4_000_000, 50_000)), np.broadcast_to(row.astype(">f4"), (4_000_000, 50_000))):
    sent = []

    def interrupt():
        time.sleep(0.3)
        sent.append(time.process_time())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        fs.cross_entropy(logits, np.zeros(len(logits), int))
        sys.exit("it was never interrupted")
    except KeyboardInterrupt:
        taken = time.process_time() - sent[0]
    print(taken)
    again = fs.cross_entropy_and_grad(small, labels)
    assert again.loss == right.loss and (again.dlogits == right.dlogits).all()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no signals to send to oneself")
def test_ctrl_c_is_honoured_at_once(backend):
    """Slices of at most 100 ms on each of two threads: so much CPU time may pass, and the next call is sound."""
    assert all(float(seconds) < 0.25 for seconds in child.run(INTERRUPTED, backend).split())


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
    assert int(child.run(code)) < 1024


def test_forcing_an_instruction_set_names_what_exists():
    said = child.run("from fastsoftmax.backends import why_not; print(why_not('cython'))", FASTSOFTMAX_CPU="z80")
    assert "not built" in said or "'x86-64-v4', 'x86-64-v3', 'baseline'" in said


LEAVING = """
import os, numpy as np, fastsoftmax as fs
x, y = np.ones((64, 200_000), np.float32), np.zeros(64, int)
fs.set_backend("cython")
fs.set_num_threads(2)
before = set(os.listdir("/proc/self/task"))
right = fs.cross_entropy(x, y)
worker, = (int(thread) for thread in set(os.listdir("/proc/self/task")) - before)
cpus = os.sched_getaffinity(0)
mine = min(cpus)
os.sched_setaffinity(0, {mine})
print(mine, flush=True)
input()
for _ in range(20):
    os.sched_setaffinity(worker, {mine})
    os.sched_setaffinity(worker, cpus)
    assert fs.cross_entropy(x, y) == right
    assert os.sched_getaffinity(worker) == cpus
    print(open(f"/proc/self/task/{worker}/stat").read().rsplit(")", 1)[1].split()[36])
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="it takes two CPUs")
def test_a_worker_leaves_its_callers_cpu():
    """Also where all others are busy; and may come back, as it may run wherever it might before."""
    if fs.backends.why_not("cython"):
        pytest.skip("no compiler: the Cython kernels are not built")
    leaving = child.start(LEAVING, stdin=subprocess.PIPE)
    mine = leaving.stdout.readline().strip()
    busy = [child.start(f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass")
            for cpu in os.sched_getaffinity(0) - {int(mine)}]
    try:
        out, error = leaving.communicate("\n", timeout=120)
    finally:
        [b.kill() for b in busy]
        [b.communicate() for b in busy]
    assert leaving.returncode == 0, error
    assert set(out.split()) - {mine}


def test_threads_that_share_nothing_but_labels(backend):
    """The same labels and weights in many calls: inputs are only read."""
    x, labels = oracle.problem(60, 20_000)
    weight = np.random.default_rng(0).random(20_000)
    for a in (labels, weight):
        a.flags.writeable = False
    right = x.copy()
    right = fs.cross_entropy_and_grad(right, labels, class_weight=weight, out=right)

    def call():
        with fs.use_backend(backend), fs.use_num_threads(2):
            mine = x.copy()
            for _ in range(3):
                mine[:] = x
                got = fs.cross_entropy_and_grad(mine, labels, class_weight=weight, out=mine)
                checks.check_same_bits(got, right)

    assert at_once([call] * 6) == []
