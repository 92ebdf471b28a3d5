"""The laws under hypothesis: any shape, any finite logits."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastsoftmax as fs
from fastsoftmax import reference

LOGITS = hnp.arrays(st.sampled_from([np.float64, np.float32]), hnp.array_shapes(min_dims=1, max_dims=3, max_side=70),
                    elements=st.floats(-1e4, 1e4, width=16))
relaxed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(x=LOGITS, seed=st.integers(0, 99))
def test_gradient_rows_sum_to_zero_and_losses_are_not_negative(backend, x, seed):
    labels = np.random.default_rng(seed).integers(0, x.shape[-1], x.shape[:-1])
    before = x.copy()
    loss, dlogits, lse = fs.cross_entropy_and_grad(x, labels, reduction="none")
    np.testing.assert_array_equal(x, before)
    assert np.all(loss >= 0) and np.shape(loss) == x.shape[:-1] == np.shape(lse)
    assert np.all(np.abs(np.sum(dlogits, axis=-1, dtype=np.float64)) <= 3e-6)
    right = reference.logsumexp(x.astype(np.longdouble))
    assert np.all(np.abs(lse - right) <= 1e-6 * (1 + np.abs(right)))


@relaxed
@given(x=LOGITS, shift=st.integers(-1000, 1000))
def test_an_offset_changes_nothing(backend, x, shift):
    x = np.round(x)
    np.testing.assert_allclose(fs.softmax(x), fs.softmax(x + x.dtype.type(shift)), rtol=4 * np.finfo(x.dtype).eps,
                               atol=np.finfo(x.dtype).tiny)


@relaxed
@given(x=LOGITS, seed=st.integers(0, 99))
def test_the_order_of_classes_does_not_matter(backend, x, seed):
    order = np.random.default_rng(seed).permutation(x.shape[-1])
    np.testing.assert_allclose(fs.softmax(x)[..., order], fs.softmax(x[..., order]), rtol=1e-6, atol=1e-38)


@relaxed
@given(x=hnp.arrays(np.float64, (3, 6), elements=st.floats(-5, 5)))
def test_the_gradient_is_that_of_the_loss(backend, x):
    """Central differences of fourth order."""
    labels, h = np.array([0, 5, 2]), 1e-3
    options = dict(reduction="sum", label_smoothing=0.1, z_loss=0.01, softcap=4.0, temperature=0.8)
    dlogits = fs.cross_entropy_and_grad(x, labels, **options).dlogits
    for k in range(6):
        at = []
        for step in (-2, -1, 1, 2):
            moved = x.copy()
            moved[1, k] += step * h
            at.append(fs.cross_entropy(moved, labels, **options))
        assert abs((at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h) - dlogits[1, k]) < 1e-7
