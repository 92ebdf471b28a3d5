"""States of a vocabulary in parts: merged, they give what the whole gives; so do counts and gradients of shards."""

import itertools
import pickle

import numpy as np
import pytest
from layouts import LAYOUTS
from operations import DTYPES, dtype_of, make

import fastsoftmax as fs
from fastsoftmax import reference

CLOSE = {"float64": dict(rtol=2e-12, atol=2e-13), "float32": dict(rtol=3e-6, atol=3e-6),
         "bfloat16": dict(rtol=3e-6, atol=3e-6), "float16": dict(rtol=3e-6, atol=3e-6)}
GRADS = {"float64": dict(rtol=2e-12, atol=1e-15), "float32": dict(rtol=1e-5, atol=1e-9),
         "bfloat16": dict(rtol=1e-2, atol=1e-6), "float16": dict(rtol=2e-3, atol=1e-6)}
OPTIONS = [{}, dict(temperature=0.3), dict(softcap=2.0), dict(softcap=3.0, temperature=2.0)]
EXACT = ("m", "argmax", "labels", "has_label", "label_logits", "top_ids", "top_logits")


def logits_of(shape, dtype="float32", seed=0):
    """Rounded, so that there are ties in every row, across shards too."""
    return (np.round(4 * make("logits", shape, "float64", seed)) / 4).astype(dtype_of(dtype))


def cuts_of(n_classes, n_shards, seed=0):
    inner = np.random.default_rng(seed).choice(np.arange(1, n_classes), n_shards - 1, replace=False)
    return list(itertools.pairwise([0, *sorted(inner.tolist()), n_classes]))


def states_of(x, y, cuts, **options):
    return [fs.row_state(x[..., a:b], y, shard_offset=a, **options) for a, b in cuts]


def counts_of(x, state, cuts):
    return sum(fs.rank_counts(x[..., a:b], state, shard_offset=a) for a, b in cuts)


def close_states(got, want, dtype, exact=EXACT):
    for name in exact:
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    for name in ("rest", "down"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), **CLOSE[dtype], err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, n_shards", [((9, 7), 7), ((20, 300), 3), ((3, 9000), 4)])
def test_scores_of_any_split_are_those_of_the_whole(backend, shape, n_shards, dtype):
    x, y = logits_of(shape, dtype), make("labels", shape, "float64")
    y[1] = -100
    k = min(5, shape[1])
    want, cuts = fs.score(x, y, top_k=k), cuts_of(shape[1], n_shards)
    state = fs.merge_states(states_of(x, y, cuts, top_k=k))
    close_states(state, fs.row_state(x, y, top_k=k), dtype)
    got = state.scores(counts_of(x, state, cuts))
    for name in ("ranks", "argmax", "top_ids"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    for name in ("losses", "lse", "log_probs", "entropy", "confidence", "top_log_probs"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), **CLOSE[dtype], err_msg=name)
    np.testing.assert_array_equal(got.log_probs, -got.losses)
    np.testing.assert_array_equal(state.topk().ids, want.top_ids)


@pytest.mark.parametrize("options", OPTIONS)
def test_options(backend, options):
    x, y = logits_of((6, 500)), make("labels", (6, 500), "float64")
    cuts = cuts_of(500, 3)
    state = fs.merge_states(states_of(x, y, cuts, top_k=3, **options))
    want = fs.score(x, y, top_k=3, **options)
    for got, right in zip(state.scores(counts_of(x, state, cuts)), want, strict=True):
        np.testing.assert_allclose(got, right, rtol=3e-6, atol=3e-6)
    np.testing.assert_allclose(state.losses(), fs.cross_entropy(x, y, reduction="none", **options), rtol=3e-6)


def test_merging_is_order_fixed_and_associative(backend):
    x, y = make("logits", (40, 1000), "float32"), make("labels", (40, 1000), "float64")
    a, b, c, d = states_of(x, y, cuts_of(1000, 4), top_k=4)
    chain = fs.merge_states([a, b, c, d])
    for same in (a.merge(b, c, d), a.merge(b).merge(c).merge(d), b.merge(a).merge(c).merge(d)):
        for one, other in zip(same, chain, strict=True):
            np.testing.assert_array_equal(one, other)
    for other in (a.merge(b).merge(c.merge(d)), d.merge(c, b, a), c.merge(a).merge(b.merge(d))):
        close_states(other, chain, "float64")


def test_large_offsets_and_sure_rows_keep_their_digits(backend):
    """p -> 1 with the label in one shard, the rest in another."""
    x = np.zeros((2, 600))
    x[:, 10] = [40, 20]
    for offset in (0.0, 1024.0):
        state = fs.merge_states(states_of(x + offset, [10, 10], [(0, 5), (5, 300), (300, 600)]))
        log_p = reference.log_softmax((x + offset).astype(reference.WIDE))
        np.testing.assert_allclose(state.losses(), -log_p[:, 10].astype(float), rtol=1e-12)
        np.testing.assert_allclose(state.entropy(), -np.sum(np.exp(log_p) * log_p, axis=1).astype(float), rtol=1e-11)
        got = fs.shard_cross_entropy_grad((x + offset)[:, 5:300], state, shard_offset=5)
        np.testing.assert_allclose(got[:, 5], np.expm1(log_p[:, 10]).astype(float), rtol=1e-11)


def test_nan_and_infinities(backend):
    x = np.tile(logits_of((1, 60)), (7, 1))
    x[0, 45] = np.nan
    x[1, [4, 50]] = np.inf
    x[2, 30:] = -np.inf
    x[3] = -np.inf
    x[4, [1, 59]] = [np.inf, np.nan]
    x[5] = np.nan
    x[6, :30] = -np.inf
    cuts = [(0, 30), (30, 45), (45, 60)]
    for y in (0, 44, 45, 59):
        labels = np.full(7, y)
        want = fs.score(x, labels, top_k=5)
        for order in itertools.permutations(range(3)):
            parts = states_of(x, labels, cuts, top_k=5)
            state = fs.merge_states([parts[i] for i in order])
            got = state.scores(counts_of(x, state, cuts))
            for name, one, other in zip(got._fields, got, want, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=name)
        dense = fs.cross_entropy_and_grad(x, labels, reduction="none").dlogits
        for a, b in cuts:
            got = fs.shard_cross_entropy_grad(x[:, a:b], state, shard_offset=a)
            np.testing.assert_allclose(got, dense[:, a:b], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("n_classes", [6, 40])
def test_fewer_classes_than_top_k(backend, n_classes):
    x = logits_of((3, n_classes))
    cuts = cuts_of(n_classes, 4)
    top = fs.merge_states(states_of(x, None, cuts, top_k=10)).topk()
    k = min(n_classes, 10)
    want = fs.topk(x, k)
    np.testing.assert_array_equal(top.ids[:, :k], want.ids)
    np.testing.assert_allclose(top.log_probs[:, :k], want.log_probs, rtol=3e-6)
    assert (top.ids[:, k:] == -1).all() and (top.log_probs[:, k:] == -np.inf).all()


def test_without_labels(backend):
    x = logits_of((2, 3, 50))
    state = fs.merge_states(states_of(x, None, [(0, 20), (20, 50)]))
    np.testing.assert_allclose(state.lse(), fs.score(x, np.zeros((2, 3), int)).lse, rtol=3e-6)
    np.testing.assert_allclose(state.entropy(), fs.entropy_with_logits(x), rtol=3e-6)
    with pytest.raises(TypeError, match="without labels"):
        state.losses()


def test_ranks_against_a_full_sort(backend):
    x = logits_of((30, 40), seed=3)
    for y in (np.zeros(30, int), np.full(30, 39), np.arange(30)):
        cuts = cuts_of(40, 5)
        state = fs.merge_states(states_of(x, y, cuts))
        order = np.argsort(-x, axis=1, kind="stable")
        np.testing.assert_array_equal(1 + counts_of(x, state, cuts), 1 + np.argmax(order == y[:, None], axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 7), (100, 300), (3, 20_000)])
@pytest.mark.parametrize("options", [{}, dict(softcap=2.0, temperature=0.7)])
def test_gradient_of_a_shard(backend, shape, dtype, options):
    x, y = make("logits", shape, dtype), make("labels", shape, "float64")
    y[1] = -100
    upstream = np.random.default_rng(0).normal(size=shape[0])
    want = reference.cross_entropy(x, y, reduction="none", dlosses=upstream, z_loss=0.01, **options)[1].astype(float)
    cuts = cuts_of(shape[1], 3)
    state = fs.merge_states(states_of(x, y, cuts, **options))
    for a, b in cuts:
        part = np.ascontiguousarray(x[:, a:b])
        got = fs.shard_cross_entropy_grad(part, state, shard_offset=a, dlosses=upstream, z_loss=0.01)
        assert got.dtype == x.dtype
        close = dict(GRADS[dtype])
        if options and dtype == "float32":
            close["atol"] = 2e-7  # near the cap its slope is what rounding has left of 1 - 1
        np.testing.assert_allclose(got.astype(float), want[:, a:b], **close)
        assert fs.shard_cross_entropy_grad(part, state, shard_offset=a, dlosses=upstream, z_loss=0.01, out=part) is part
        np.testing.assert_array_equal(part, got)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_shards_far_below_the_maximum_of_another(backend, dtype):
    """What their exps are relative to is no maximum of theirs; rows of more and of fewer bytes than the L2 cache holds."""
    for n_classes in (50, 9000, 250_000):
        x = make("logits", (2, n_classes), dtype)
        for height in (0, 30, 70, 400):
            last = np.full((2, 3), height, dtype)
            y = [7, n_classes + 1]
            state = fs.row_state(x, y).merge(fs.row_state(last, y, shard_offset=n_classes))
            p = reference.softmax(np.hstack([x, last]).astype(reference.WIDE))
            p[0, 7] -= 1
            got = fs.shard_cross_entropy_grad(x, state)
            np.testing.assert_allclose(got, p[:, :n_classes].astype(float), rtol=1e-12 if dtype == "float64" else 3e-5,
                                       atol=np.finfo(dtype).smallest_normal)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(backend, layout):
    x, y = logits_of((6, 500)), make("labels", (6, 500), "float64")
    y = np.where(y < 100, 100, y)
    part = LAYOUTS[layout](x[:, 100:])
    state, want = (fs.row_state(a, y, shard_offset=100, top_k=4) for a in (part, x[:, 100:]))
    for one, other in zip(state, want, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(fs.rank_counts(part, state, shard_offset=100),
                                  fs.rank_counts(x[:, 100:], state, shard_offset=100))
    np.testing.assert_array_equal(fs.shard_cross_entropy_grad(part, state, shard_offset=100),
                                  fs.shard_cross_entropy_grad(x[:, 100:], state, shard_offset=100))


def test_axes_shapes_and_integers(backend):
    x, y = logits_of((2, 3, 40)), make("labels", (2, 3, 40), "float64")
    state = fs.merge_states(states_of(x, y, [(0, 15), (15, 40)], top_k=2))
    moved = np.moveaxis(x, -1, 1)
    first, second = (fs.row_state(moved[:, a:b], y, shard_offset=a, axis=1, top_k=2) for a, b in ((0, 15), (15, 40)))
    for one, other in zip(first.merge(second), state, strict=True):
        np.testing.assert_array_equal(one, other)
    want = fs.shard_cross_entropy_grad(x[..., 15:], state, shard_offset=15)
    got = fs.shard_cross_entropy_grad(moved[:, 15:], state, shard_offset=15, axis=1)
    np.testing.assert_array_equal(np.moveaxis(got, 1, -1), want)
    out = np.empty((2, 25, 3), np.float32)
    assert fs.shard_cross_entropy_grad(moved[:, 15:], state, shard_offset=15, axis=1, out=out) is out
    np.testing.assert_array_equal(out, got)
    one = fs.merge_states(states_of(x[0, 0], y[0, 0], [(0, 15), (15, 40)]))
    assert one.losses() == state.losses()[0, 0] and one.lse() == state.lse()[0, 0]
    assert one.scores(counts_of(x[0, 0], one, [(0, 40)])).ranks == fs.score(x[0, 0], y[0, 0]).ranks
    np.testing.assert_allclose(fs.shard_cross_entropy_grad(x[0, 0, 15:], one, shard_offset=15), want[0, 0], rtol=1e-6)
    none = fs.merge_states(states_of(x[:0], y[:0], [(0, 15), (15, 40)], top_k=3))
    assert none.losses().shape == (0, 3) and none.topk().ids.shape == (0, 3, 3)
    assert fs.shard_cross_entropy_grad(x[:0, :, :15], none).shape == (0, 3, 15)
    whole = fs.row_state(np.array([[1, 2, 3]]), [2])
    np.testing.assert_allclose(whole.losses(), fs.cross_entropy(np.array([[1.0, 2, 3]]), [2], reduction="none"))
    assert fs.shard_cross_entropy_grad(np.array([[1, 2, 3]]), whole).dtype == np.float64


def test_a_state_travels(backend):
    x = logits_of((4, 50))
    state = fs.row_state(x, [1, 2, 3, -100], top_k=2, softcap=3.0)
    again = pickle.loads(pickle.dumps(state))
    for one, other in zip(again, state, strict=True):
        np.testing.assert_array_equal(one, other)
    assert isinstance(again, fs.RowState)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tensors(dtype):
    torch = pytest.importorskip("torch")
    x = logits_of((4, 50), dtype)
    logits = torch.from_numpy(x.astype(np.float32)).to(getattr(torch, dtype))
    labels = torch.tensor([1, 2, 49, -100])
    state = fs.merge_states(states_of(logits, labels, [(0, 30), (30, 50)], top_k=2))
    want = fs.score(x, labels.numpy(), top_k=2)
    counts = counts_of(logits, state, [(0, 30), (30, 50)])
    assert isinstance(counts, torch.Tensor) and isinstance(state.m, np.ndarray)
    np.testing.assert_array_equal(state.scores(counts).ranks, want.ranks)
    np.testing.assert_equal(fs.Metrics().update(fs.score(logits, labels)).compute(), fs.Metrics().update(want).compute())
    part = logits[:, 30:].contiguous()
    got = fs.shard_cross_entropy_grad(part, state, shard_offset=30)
    assert isinstance(got, torch.Tensor) and got.dtype == logits.dtype
    assert fs.shard_cross_entropy_grad(part, state, shard_offset=30, out=part) is part
    assert torch.equal(part, got)
    dense = fs.cross_entropy_and_grad(logits, labels, reduction="none").dlogits
    torch.testing.assert_close(got, dense[:, 30:])
    compact = fs.cross_entropy_compact_grad(logits, labels, reduction="none")
    np.testing.assert_array_equal(compact.rows().astype(np.float32), dense.float().numpy())
    np.testing.assert_allclose(compact @ torch.ones(50, 3), np.zeros((4, 3)), atol=1e-6)


def test_threads_change_no_bit(backend):
    x, y = make("logits", (200, 9000), "float32"), make("labels", (200, 9000), "float64")
    found = []
    for n in (1, 3):
        with fs.use_num_threads(n):
            state = fs.row_state(x, y)
            found.append((*state, fs.rank_counts(x, state), fs.shard_cross_entropy_grad(x, state)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_shard_samples_by_its_mass(backend):
    """Each shard draws one of its own and a Gumbel number above its lse: the highest wins (the Gumbel-max identity)."""
    n, rng = 4000, np.random.default_rng(5)
    x = np.broadcast_to(logits_of((1, 12)), (n, 12))
    ids, heights = [], []
    for a, b in [(0, 3), (3, 10), (10, 12)]:
        ids.append(fs.sample(x[:, a:b], rng) + a)
        heights.append(fs.row_state(x[:, a:b]).lse() + rng.gumbel(size=n))
    drawn = np.choose(np.argmax(heights, axis=0), ids)
    expected = n * fs.softmax(x[0])
    assert np.sum((np.bincount(drawn, minlength=12) - expected) ** 2 / expected) < 11 + 4.5 * np.sqrt(22)


def test_bad_input():
    x = logits_of((4, 30))
    y = np.array([1, 29, 35, -100])
    state, other = fs.row_state(x, y), fs.row_state(x, y, shard_offset=30)
    whole = state.merge(other)
    for error, words, call in (
            (fs.LabelError, r"labels\[2\] is 35, which is in no shard", lambda: state.losses()),
            (fs.LabelError, r"labels\[2\] is 35, which is in no shard", lambda: fs.rank_counts(x, state)),
            (fs.LabelError, r"labels\[3\] is -100, but must be at least 0", lambda: fs.row_state(x, y, ignore_index=-1)),
            (fs.LabelError, "labels is -1, but must be at least 0, or ignore_index=-100", lambda: fs.row_state(x[0], -1)),
            (ValueError, "classes 0 to 30 are in two states", lambda: state.merge(state)),
            (ValueError, "classes 10 to 30 are in two", lambda: fs.row_state(x).merge(fs.row_state(x, shard_offset=10))),
            (TypeError, "state must be a RowState, not NoneType", lambda: fs.rank_counts(x, None)),
            (TypeError, "state must be a RowState, not tuple", lambda: fs.shard_cross_entropy_grad(x, tuple(state))),
            (ValueError, "logits are those of classes 31 to 61, but the state is of 0 to 60",
             lambda: fs.shard_cross_entropy_grad(x, whole, shard_offset=31)),
            (ValueError, "n_before has a count of -1", lambda: whole.scores([-1, 0, 0, 0])),
            (ValueError, "different labels cannot", lambda: state.merge(fs.row_state(x, y + 1, ignore_index=-99))),
            (ValueError, "different temperature", lambda: state.merge(fs.row_state(x, y, temperature=2.0))),
            (ValueError, "different softcap", lambda: state.merge(fs.row_state(x, y, softcap=2.0))),
            (ValueError, "different top_k", lambda: state.merge(fs.row_state(x, y, top_k=2))),
            (ValueError, "different labels", lambda: state.merge(fs.row_state(x))),
            (ValueError, "different rows of shape", lambda: state.merge(fs.row_state(x[:3], y[:3]))),
            (ValueError, "states is empty", lambda: fs.merge_states([])),
            (TypeError, r"states\[1\] must be a RowState, not tuple", lambda: fs.merge_states([state, ()])),
            (TypeError, "must be a sequence of RowState, not RowState", lambda: fs.merge_states(state)),
            (ValueError, r"shard_offset is \d+, outside \[0, 2\^62\)", lambda: fs.row_state(x, y, shard_offset=2**63)),
            (ValueError, "shard_offset is -1", lambda: fs.row_state(x, y, shard_offset=-1)),
            (TypeError, "shard_offset must be an integer", lambda: fs.row_state(x, y, shard_offset=1.0)),
            (ValueError, "top_k is -1", lambda: fs.row_state(x, y, top_k=-1)),
            (ValueError, "zero classes", lambda: fs.row_state(x[:, :0], y)),
            (TypeError, "labels has dtype float64", lambda: fs.row_state(x, [0.0] * 4)),
            (ValueError, r"n_before has shape \(3,\)", lambda: whole.scores([0, 0, 0])),
            (TypeError, "n_before has dtype float64", lambda: whole.scores([0.0] * 4)),
            (ValueError, "logits have rows of shape", lambda: fs.rank_counts(x[:3], whole)),
            (ValueError, "out overlaps logits", lambda: fs.shard_cross_entropy_grad(x, whole, out=x[::-1])),
            (ValueError, "z_loss is -1", lambda: fs.shard_cross_entropy_grad(x, whole, z_loss=-1)),
            (ValueError, r"dlosses has shape \(3,\)", lambda: fs.shard_cross_entropy_grad(x, whole, dlosses=[1] * 3))):
        with pytest.raises(error, match=words):
            call()
