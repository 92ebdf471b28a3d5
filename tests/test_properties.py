"""Hypothesis: any shape, axis, layout, dtype and combination of options, against the reference; and the laws."""

import checks
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from layouts import LAYOUTS
from operations import DTYPES, OPERATIONS, dtype_of, inputs_of

import fastsoftmax as fs
from fastsoftmax import reference

LOGITS = hnp.arrays(st.sampled_from([np.float64, np.float32]), hnp.array_shapes(min_dims=1, max_dims=3, max_side=70),
                    elements=st.floats(-1e4, 1e4, width=16))
SEEDS = st.integers(0, 2**32 - 1)
LEADS = st.lists(st.integers(1, 4), max_size=2).map(tuple)
N_CLASSES = st.one_of(st.integers(1, 70), st.integers(4090, 4100))


@st.composite
def problems(draw):
    """(logits, labels or target_probs, options, layout, axis): what is drawn are choices, the numbers come from a seed."""
    rng = np.random.default_rng(draw(SEEDS))
    lead, n_classes, kind = draw(LEADS), draw(N_CLASSES), dtype_of(draw(st.sampled_from(DTYPES)))
    logits = (rng.normal(size=(*lead, n_classes)) * draw(st.sampled_from([0.1, 2, 20]))).astype(kind)
    if draw(st.booleans()):
        logits[rng.random(logits.shape) < 0.1] = -np.inf
        logits[..., rng.integers(n_classes)] = 1
    weights = st.sampled_from([None, "positive", "any"])

    def some(choice, shape):
        return None if choice is None else rng.random(shape) if choice == "positive" else rng.integers(-2, 3, shape) / 2

    options = dict(
        class_weight=some(draw(weights), n_classes), sample_weight=some(draw(weights), draw(st.sampled_from([lead, ()]))),
        reduction=draw(st.sampled_from(fs.check.REDUCTIONS)), label_smoothing=draw(st.sampled_from([0.0, 0.1, 1.0])),
        z_loss=draw(st.sampled_from([0.0, 0.01])), softcap=draw(st.sampled_from([None, 3.0])),
        temperature=draw(st.sampled_from([1.0, 0.3, 4])), dlosses=some(draw(weights), draw(st.sampled_from([lead, ()]))))
    if draw(st.booleans()):
        target = some("any" if draw(st.booleans()) else "positive", logits.shape).astype(kind)
    else:
        target = rng.integers(0, n_classes, lead)
        options["ignore_index"] = draw(st.sampled_from([-100, 0, None]))
        if options["ignore_index"] is not None:
            target = np.where(rng.random(lead) < 0.2, options["ignore_index"], target)
        target = target.astype(draw(st.sampled_from([np.int64, ">i4", np.int16])))
    axis = draw(st.integers(-logits.ndim, logits.ndim - 1))
    return logits, target, options, draw(st.sampled_from([*LAYOUTS])), axis


@np.errstate(all="ignore")
def expected(logits, target, options):
    """[(value, size of its terms)] of losses (n_rows,), gradient (n_rows, n_classes) and lse, by the reference."""
    x = logits.reshape(-1, logits.shape[-1]).astype(reference.WIDE)
    n_rows, n_classes = x.shape
    rows, upstream = (np.ravel(np.broadcast_to(1.0 if options[k] is None else options[k], logits.shape[:-1]))
                      for k in ("sample_weight", "dlosses"))
    used = rows != 0
    weight = np.ones(n_classes) if options["class_weight"] is None else options["class_weight"]
    if target.ndim == logits.ndim and "ignore_index" not in options:
        q, e = target.reshape(x.shape).astype(reference.WIDE), options["label_smoothing"]
        t, norm = weight * ((1 - e) * q + e / n_classes), np.sum(rows)
    else:
        labels = target.reshape(-1).astype(int)
        used = used & (labels != options["ignore_index"])
        labels = np.where(used, labels, 0)
        t = reference.targets(labels, n_classes, weight, options["label_smoothing"])
        norm = np.sum(np.where(used, rows * weight[labels], 0))
    z = reference.transform(x, options["temperature"], options["softcap"])
    scale = 1 / norm if options["reduction"] == "mean" and norm else np.nan if options["reduction"] == "mean" else 1.0
    lse = reference.logsumexp(z)
    span = 1 + np.max(np.abs(np.where(np.isfinite(z), z, 0)), axis=-1) + np.abs(lse)
    total = np.sum(np.abs(t), axis=-1) * span + 2 * options["z_loss"] * span**2
    g = upstream * rows * scale
    gradient = reference.dlogits(x, t, g, options["z_loss"], options["temperature"], options["softcap"])
    size = np.where(used, np.abs(g) * total / options["temperature"], 0)
    return [(np.where(used, rows * reference.losses(z, t, options["z_loss"]), 0), np.abs(rows) * total),
            (np.where(used[:, None], gradient, 0), np.broadcast_to(size[:, None], gradient.shape)),
            (np.where(used, lse, 0), span)], scale


@given(problems())
def test_any_problem_against_the_reference(backend, problem):
    logits, target, options, layout, axis = problem
    [(losses, loss_size), gradient, lse], scale = expected(logits, target, options)
    soft = "ignore_index" not in options
    call = fs.soft_cross_entropy_and_grad if soft else fs.cross_entropy_and_grad
    x = LAYOUTS[layout](np.moveaxis(logits, -1, axis))
    y = LAYOUTS[layout](np.moveaxis(target, -1, axis)) if soft else target
    kept = x.tobytes(), y.tobytes()
    results = [call(x, y, axis=axis, **options)]
    assert (x.tobytes(), y.tobytes()) == kept
    if x.flags.writeable and x.dtype.isnative:
        results.append(call(x, y, axis=axis, out=x, **options))
    computed = "float64" if logits.dtype == np.float64 else "float32"
    if options["reduction"] != "none":
        with np.errstate(all="ignore"):
            losses, loss_size = np.sum(losses) * scale, np.sum(loss_size) * np.abs(scale)
    for got in results:
        assert np.shape(got.loss) == (logits.shape[:-1] if options["reduction"] == "none" else ())
        checks.check_close(np.ravel(got.loss), np.ravel(losses), np.ravel(loss_size), computed)
        checks.check_close(np.ravel(got.lse), lse[0], lse[1], computed)
        dlogits = np.moveaxis(got.dlogits, axis, -1)
        assert dlogits.dtype == logits.dtype and dlogits.shape == logits.shape
        checks.check_close(dlogits.reshape(gradient[0].shape), gradient[0], gradient[1], logits.dtype.name)


@given(name=st.sampled_from([*OPERATIONS]), lead=LEADS, n_classes=N_CLASSES, dtype=st.sampled_from(DTYPES),
       layout=st.sampled_from([*LAYOUTS]), seed=st.integers(0, 9), data=st.data())
def test_any_operation_in_any_layout(backend, name, lead, n_classes, dtype, layout, seed, data):
    operation = OPERATIONS[name]
    inputs = inputs_of(name, (*lead, n_classes), dtype, seed)
    axis = data.draw(st.integers(-len(lead) - 1, len(lead)))
    odd = [a if k == "labels" else LAYOUTS[layout](np.moveaxis(a, -1, axis))
           for k, a in zip(operation.inputs, inputs, strict=True)]
    flat = [a.reshape(-1) if k == "labels" else a.reshape(-1, n_classes)
            for k, a in zip(operation.inputs, inputs, strict=True)]
    got = [np.moveaxis(r, axis, -1).reshape(-1, n_classes) if r.ndim > len(lead) else r.reshape(-1)
           for r in operation(*odd, axis=axis)]
    checks.check_results(got, operation.right(*flat), dtype)
    checks.check_same_bits(got, operation(*flat))


few = settings(max_examples=40)


@few
@given(x=LOGITS, seed=SEEDS)
def test_gradient_rows_sum_to_zero_and_losses_are_not_negative(backend, x, seed):
    labels = np.random.default_rng(seed).integers(0, x.shape[-1], x.shape[:-1])
    loss, dlogits, lse = fs.cross_entropy_and_grad(x, labels, reduction="none")
    assert np.all(loss >= 0) and np.shape(loss) == x.shape[:-1] == np.shape(lse)
    checks.check_rows_sum_to_zero(dlogits)


@few
@given(x=LOGITS, shift=st.integers(-1000, 1000), seed=SEEDS)
def test_an_offset_changes_nothing(backend, x, shift, seed):
    labels = np.random.default_rng(seed).integers(0, x.shape[-1], x.shape[:-1])
    checks.check_shift(np.round(x), labels, shift)


@few
@given(x=LOGITS, seed=SEEDS)
def test_the_order_of_classes_does_not_matter(backend, x, seed):
    rng = np.random.default_rng(seed)
    checks.check_permutation(x, rng.integers(0, x.shape[-1], x.shape[:-1]), rng.permutation(x.shape[-1]), x.dtype.name)


@few
@given(x=LOGITS.filter(lambda x: x.shape[-1] > 1), data=st.data())
def test_split_vocabulary(backend, x, data):
    checks.check_split_vocabulary(x, data.draw(st.integers(1, x.shape[-1] - 1)))
