"""linear_cross_entropy_step: the numbers of the gradient in full and torch's formulas, without that gradient."""

import checks
import child
import ml_dtypes
import numpy as np
import pytest
from test_linear import inputs

import fastsoftmax as fs
from fastsoftmax import backends, optim
from fastsoftmax.contract import Step

MAKERS = (lambda: optim.SGD(0.5), lambda: optim.SGD(0.5, momentum=0.9, weight_decay=0.01), lambda: optim.Adagrad(0.1),
          lambda: optim.Adagrad(0.1, initial_accumulator_value=1e-6, eps=0), lambda: optim.Adam(0.01, weight_decay=0.1))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("workspace", [64 << 20, 1 << 21])
def test_a_step_is_that_of_the_whole_gradient(backend, make, workspace):
    features, classifier, bias, labels = inputs(120, 20, 5000)
    ours, whole = make(), make()
    w, b = classifier.copy(), bias.copy()
    for _ in range(3):
        got = fs.linear_cross_entropy_step(features, w, labels, bias=b, optimizer=ours, max_workspace_bytes=workspace)
        want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
        whole.update("classifier", classifier, want.dclassifier)
        whole.update("bias", bias, want.dbias)
        assert got.loss == pytest.approx(want.loss, rel=1e-6)
        np.testing.assert_allclose(got.dfeatures, want.dfeatures, rtol=1e-3, atol=1e-6)
        # Adam divides a gradient by its own size, so that of a rounded 0 may be anything
        np.testing.assert_allclose(w, classifier, rtol=1e-3, atol=2e-2)
        assert np.mean(np.abs(w - classifier)) < 1e-5 and np.mean(np.abs(b - bias)) < 1e-5
    assert ours.n_steps == 3


def test_to_the_bit_where_sums_run_alike():
    features, classifier, bias, labels = inputs(120, 20, 5000)
    with fs.use_backend("cython"):
        for workspace in (64 << 20, 1 << 21):
            w, b, optimizer = classifier.copy(), bias.copy(), optim.Adagrad(0.1)
            got = fs.linear_cross_entropy_step(features, w, labels, bias=b, optimizer=optimizer,
                                               max_workspace_bytes=workspace)
            want = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
            other = optim.Adagrad(0.1)
            right_w, right_b = classifier.copy(), bias.copy()
            other.update("classifier", right_w, want.dclassifier)
            other.update("bias", right_b, want.dbias)
            checks.check_same_bits((got.loss, got.dfeatures, got.lse), (want.loss, want.dfeatures, want.lse))
            if workspace == 64 << 20:  # one block of rows, as there
                checks.check_same_bits((w, b), (right_w, right_b))


@pytest.mark.parametrize("make", MAKERS)
def test_against_torch(make):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    ours = make()
    names = {optim.SGD: torch.optim.SGD, optim.Adagrad: torch.optim.Adagrad, optim.Adam: torch.optim.Adam}
    known = {name: value for name, value in vars(ours).items() if name not in ("state", "NAMES")}
    x = rng.standard_normal((30, 7))
    parameter = torch.tensor(x, requires_grad=True)
    theirs = names[type(ours)]([parameter], **known)
    for _ in range(4):
        gradient = rng.standard_normal((30, 7))
        parameter.grad = torch.tensor(gradient)
        theirs.step()
        ours.update("x", x, gradient)
    np.testing.assert_allclose(x, parameter.detach().numpy(), rtol=1e-12)


ODD = [np.nan, -np.inf, np.inf, 0.0, -0.0, 1e-42, 3e38]


def steps(make, dtype, turned=False, name="numpy"):
    """A parameter and the optimizer's state after three steps of two parts each, large enough for two threads."""
    real = np.float64 if dtype == np.float64 else np.float32
    rng = np.random.default_rng(0)
    x, optimizer = rng.standard_normal((701, 1003)).astype(dtype), make()
    with np.errstate(over="ignore"):  # of float16
        x[3, :7], x[-1, -7:] = ODD, ODD
    if turned:
        x = np.asfortranarray(x)
    with fs.use_backend(name), fs.use_num_threads(2):
        for _ in range(3):
            g = rng.standard_normal(x.shape).astype(real)
            g[4, :7], g[-1, -8:-1] = ODD, ODD
            optimizer.start("x", x)
            for part in (slice(0, 1), slice(1, None)):
                optimizer.step_part("x", x, g[part], part)
    return x, *(optimizer.state["x"][key] for key in optimizer.NAMES)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("make", MAKERS)
def test_the_same_bits_by_every_backend(backend, make, dtype):
    for turned in (False, True):
        checks.check_same_bits(steps(make, dtype, turned, backend), steps(make, dtype))


@pytest.fixture
def cython(every_backend):
    if "cython" not in every_backend:
        pytest.skip("the Cython backend does not work here")


def test_contiguous_parameters_are_stepped_by_compiled_kernels(cython):
    x, g = np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32)
    for contiguous in (True, False):
        step = Step("sgd", (0.1,), 0.0, x if contiguous else x.T, g if contiguous else g.T, ())
        found = backends.load("cython").step(step)
        assert (type(found).__name__ == "Step") == contiguous
        assert found(0, 3) == -1


def test_a_step_without_dfeatures_is_the_same_step(backend):
    features, classifier, bias, labels = inputs(120, 20, 5000)
    for workspace in (64 << 20, 1 << 21):
        found = []
        for wrt in ({}, {"wrt": ()}, {"wrt": ("bias",)}):
            w, b = classifier.copy(), bias.copy()
            got = fs.linear_cross_entropy_step(features, w, labels, bias=b, optimizer=optim.Adagrad(0.1),
                                               max_workspace_bytes=workspace, **wrt)
            assert (got.dfeatures is None) == bool(wrt)
            found.append((w, b, got.loss, got.lse))
        for other in found[1:]:
            for a, right in zip(other, found[0], strict=True):
                np.testing.assert_allclose(a, right, rtol=1e-5, atol=1e-5)


def test_weight_decay_by_parameter():
    for name, decay in (("classifier", 0.25), ("bias", 0.0)):
        x, wanted = np.full(3, 2.0), np.full(3, 2.0)
        optim.SGD(0.5, weight_decay={"classifier": 0.25}).update(name, x, np.ones(3))
        optim.SGD(0.5, weight_decay=decay).update(name, wanted, np.ones(3))
        np.testing.assert_array_equal(x, wanted)
    with pytest.raises(ValueError, match=r"weight_decay\['classifier'\] is -1"):
        optim.SGD(0.5, weight_decay={"classifier": -1})


def test_narrow_parameters_are_rounded_once_a_step(backend):
    features, classifier, bias, labels = inputs(10, 20, 300, ml_dtypes.bfloat16)
    wide = classifier.astype(np.float32)
    optimizer = optim.SGD(0.5)
    gradient = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_dtype=np.float32).dclassifier
    fs.linear_cross_entropy_step(features, classifier, labels, bias=bias, optimizer=optimizer)
    wide -= np.float32(0.5) * gradient
    np.testing.assert_allclose(classifier.astype(np.float32), wide, rtol=2.0**-8, atol=1e-6)


def test_steps_with_nothing_that_counts_change_nothing(backend):
    features, classifier, bias, _ = inputs(3, 4, 5)
    before = classifier.copy()
    optimizer = optim.Adam()
    got = fs.linear_cross_entropy_step(features, classifier, [-100] * 3, optimizer=optimizer)
    assert np.isnan(got.loss) and not got.dfeatures.any() and optimizer.n_steps == 0
    np.testing.assert_array_equal(classifier, before)


PEAK = """
import tracemalloc
import numpy as np
import fastsoftmax as fs
fs.set_backend("cython")
rng = np.random.default_rng(0)
x, w = rng.standard_normal((300, 64), np.float32), rng.standard_normal((30000, 64), np.float32)
y = rng.integers(0, 30000, 300)
optimizer = fs.optim.SGD(0.1)
fs.linear_cross_entropy_step(x[:2], w, y[:2], optimizer=optimizer)
tracemalloc.start()
fs.linear_cross_entropy_step(x, w, y, optimizer=optimizer, max_workspace_bytes=4 << 20)
print(tracemalloc.get_traced_memory()[1])
"""


def test_the_gradient_is_never_allocated(cython):
    assert int(child.run(PEAK)) < 5 << 20  # the gradient would take 7.7 MB


def test_a_parameter_of_one_number():
    x, sgd = np.array(3.0), optim.SGD(0.1, momentum=0.9)
    for _ in range(2):
        sgd.update("x", x, np.array(0.5))
    assert x == pytest.approx(3 - 0.1 * 0.5 - 0.1 * 0.95)


def test_parts_that_cannot_be_stepped_are_refused(backend):
    x, fixed, sgd = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32), optim.SGD(0.1)
    fixed.flags.writeable = False
    sgd.start("x", x)
    for shape in ((4, 2), (3, 3), (5, 3), (4,)):
        with pytest.raises(ValueError, match="the gradient of a part of 'x' has shape"):
            sgd.step_part("x", x, np.ones(shape, np.float32))
    for parameter, error, text in ((fixed, ValueError, "'y' is read-only"),
                                   ([1.0, 2.0], TypeError, "'y' must be a numpy array"),
                                   (np.zeros(3, int), TypeError, "'y' has dtype int64"),
                                   (np.broadcast_to(np.zeros(1), (3,)), ValueError, "'y' is read-only")):
        with pytest.raises(error, match=text):
            sgd.update("y", parameter, np.ones(np.shape(parameter)))
    assert not x.any() and "y" not in sgd.state


def test_bad_input():
    features, classifier, bias, labels = inputs(4, 5, 7)
    labels = [0, 1, 2, 3]
    sgd = optim.SGD(0.1)
    with pytest.raises(TypeError, match="optimizer must be one of fastsoftmax.optim, not str"):
        fs.linear_cross_entropy_step(features, classifier, labels, optimizer="sgd")
    with pytest.raises(TypeError, match="classifier must be a numpy array, not list"):
        fs.linear_cross_entropy_step(features, classifier.tolist(), labels, optimizer=sgd)
    fixed = classifier.copy()
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="classifier is read-only"):
        fs.linear_cross_entropy_step(features, fixed, labels, optimizer=sgd)
    with pytest.raises(ValueError, match="classifier overlaps features"):
        fs.linear_cross_entropy_step(classifier[:4], classifier, labels, optimizer=sgd)
    with pytest.raises(fs.LabelError):
        fs.linear_cross_entropy_step(features, classifier, [0, 1, 2, 7], optimizer=sgd)
    for make in (lambda: optim.SGD(-1), lambda: optim.Adam(betas=(0.9, 1.0)), lambda: optim.Adagrad(eps=np.nan)):
        with pytest.raises(ValueError, match="outside"):
            make()
    adam = optim.Adam()
    adam.update("x", np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="'x', as the optimizer knows it, has shape"):
        adam.update("x", np.zeros(4), np.ones(4))
    with pytest.raises(ValueError, match="the gradient of 'x' has shape"):
        adam.update("x", np.zeros(3), np.ones(4))
