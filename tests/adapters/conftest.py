"""The ways from JAX into the kernels."""

import pytest

import fastsoftmax as fs


@pytest.fixture
def quick(request):
    """XLA optimises nothing that runs once, except where its programs are looked at."""
    import jax

    jax.config.update("jax_disable_most_optimizations", "optimised" not in request.fixturenames)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def optimised():
    """Programs as users have them."""


@pytest.fixture
def handler():
    """The compiled handler, whatever backend the tests run with."""
    from fastsoftmax.jax import calls

    if calls.handler() is None:
        pytest.skip("no compiler: the handler for XLA is not built")
    with fs.use_backend("cython"):
        assert calls.backend_now() == "xla"
        yield


@pytest.fixture
def callback(monkeypatch):
    from fastsoftmax.jax import calls

    monkeypatch.setattr(calls, "handler", lambda: None)
    assert calls.backend_now() != "xla"


@pytest.fixture(params=["handler", "callback"])
def route(request):
    """The way into the kernels: what is tested must not depend on it."""
    request.getfixturevalue(request.param)


@pytest.fixture
def spy(monkeypatch):
    """(arguments, results) of every call that wants gradients: places in memory, and whether they may be written to."""
    seen, once = [], fs.linear_cross_entropy_and_grad

    def watched(features, classifier, labels, bias=None, *, out, **options):
        seen.append([None if a is None else (a.ctypes.data, a.flags.writeable)
                     for a in (features, classifier, labels, bias, *out)])
        return once(features, classifier, labels, bias=bias, out=out, **options)

    monkeypatch.setattr(fs.api_linear, "linear_cross_entropy_and_grad", watched)
    return seen
