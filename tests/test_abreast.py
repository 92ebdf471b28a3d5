"""Rows of few classes, which the compiled kernels compute abreast, one a lane: each as if it were alone."""

import importlib
import sys

import checks
import child
import numpy as np
import pytest
from operations import DTYPES, OPERATIONS, inputs_of
from test_ieee import hostile
from test_run import builds

import fastsoftmax as fs
from fastsoftmax import backends, contract

CLASSES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 99, 100, 101)  # around vectors, and what is computed abreast
ABREAST = pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "cross_entropy_and_grad"])


def check_each_alone(name, inputs, right=True):
    """Every row's results are those that it has alone, to the bit, and right."""
    operation = OPERATIONS[name]
    together = operation(*inputs)
    for i in range(len(inputs[0])):
        checks.check_same_bits(operation(*(a[i] for a in inputs)), [r[i] for r in together])
    if right:
        checks.check_results(together, operation.right(*inputs), inputs[0].dtype.name)
    if operation.takes_out:
        checks.check_in_place(operation, inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@ABREAST
def test_any_number_of_rows_and_classes(backend, name, dtype):
    for n_classes in CLASSES:
        check_each_alone(name, inputs_of(name, (35, n_classes), dtype))
    for n_rows in range(1, 20):
        check_each_alone(name, inputs_of(name, (n_rows, 10), dtype))


@pytest.mark.parametrize("module", builds())
@pytest.mark.parametrize("dtype", DTYPES)
@ABREAST
def test_every_instruction_set(monkeypatch, module, name, dtype):
    kernels = importlib.import_module(f"fastsoftmax.backends.{module}")
    monkeypatch.setattr(backends.load("cython"), "bind", kernels.bind)
    monkeypatch.setattr(backends.load("cython"), "short_cut", contract.no_short_cut)
    with fs.use_backend("cython"):
        for n_classes in (1, 9, 17, 100):
            check_each_alone(name, inputs_of(name, (19, n_classes), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_classes", [3, 17, 100])
def test_broken_and_ignored_rows_leave_their_neighbours_alone(backend, dtype, n_classes):
    x = np.concatenate([inputs_of("softmax", (5, n_classes), dtype)[0], hostile(n_classes, dtype),
                        inputs_of("softmax", (7, n_classes), dtype, seed=1)[0]])
    labels = np.arange(len(x)) % n_classes
    labels[[1, 6, 8, 13, 19]] = -100
    for call in (fs.softmax, fs.log_softmax, fs.logsumexp,
                 lambda x, y=labels: fs.cross_entropy_and_grad(x, y[:len(x)], reduction="none")):
        together = call(x)
        for i in range(len(x)):
            if call in (fs.softmax, fs.log_softmax, fs.logsumexp):
                checks.check_same_bits([call(x[i])], [together[i]])
            else:
                alone = fs.cross_entropy_and_grad(x[i], labels[i], reduction="none")
                checks.check_same_bits(alone, [r[i] for r in together])
    together = fs.cross_entropy_and_grad(x, labels, reduction="none")
    ignored = labels == -100
    assert not together.loss[ignored].any() and not together.dlogits[ignored].astype(float).any()
    assert not together.lse[ignored].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_maxima_and_very_different_rows(backend, dtype):
    """The range of every lane is its own: rows of huge and of tiny numbers, of ties, and of all that underflows."""
    x = np.zeros((20, 33))
    x[1], x[2, ::2], x[3] = -1e4, 5, np.linspace(-3e4, 3e4, 33)
    x[4:8] = np.random.default_rng(0).normal(size=(4, 33)) * np.array([[1e-3], [1], [50], [500]])
    x[8, 0], x[9, 1:] = 120, -120
    x[10:] = -200 * np.arange(33)
    x = x.astype(inputs_of("softmax", (1, 1), dtype)[0].dtype)
    check_each_alone("softmax", (x,))
    check_each_alone("log_softmax", (x,))
    check_each_alone("logsumexp", (x,), right=False)  # log(1 + e^-200) is as inexact as e^-200, by 200 roundings
    check_each_alone("cross_entropy_and_grad", (x, np.arange(20)), right=False)


GUARDED = """
import sys, fastsoftmax as fs
from guarded import guarded
from operations import DTYPES, OPERATIONS, inputs_of

fs.set_backend(sys.argv[1])
for dtype in DTYPES:
    for name in ("softmax", "log_softmax", "logsumexp", "cross_entropy_and_grad"):
        for shape in [(17, 1), (16, 3), (33, 7), (15, 17), (31, 33), (17, 64), (18, 100)]:
            for at_end in (True, False):
                plain = inputs_of(name, shape, dtype)
                inputs = [guarded(a, at_end) for a in plain]
                options = {"out": guarded(plain[0], at_end)} if OPERATIONS[name].takes_out else {}
                for a, b in zip(OPERATIONS[name](*inputs, **options), OPERATIONS[name](*plain), strict=True):
                    assert a.tobytes() == b.tobytes(), (dtype, name, shape)
print("inside")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no mprotect")
def test_never_a_step_outside_the_arrays(backend):
    assert child.run(GUARDED, backend) == "inside\n"
