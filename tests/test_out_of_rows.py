"""`out` for what is a few numbers a row: written and returned as given, or refused before anything is written."""

from typing import NamedTuple

import checks
import numpy as np
import pytest

import fastsoftmax as fs

ROWS = (2, 3)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(*ROWS, 40)).astype(np.float32)
Y = RNG.integers(0, 40, ROWS)
P, Q = (fs.softmax(RNG.normal(size=(*ROWS, 40))) for _ in range(2))
FEATURES, CLASSIFIER = RNG.normal(size=(*ROWS, 8)), RNG.normal(size=(40, 8))
IDS = RNG.integers(0, 40, (*ROWS, 4))
STATE = fs.row_state(X, Y)


class Case(NamedTuple):
    call: callable
    inputs: dict
    options: dict = {}

    def __call__(self, **options):
        return self.call(**{**self.inputs, **self.options, **options})

    def fresh(self):
        """New results as a tuple, None for those that are not there."""
        found = self()
        return tuple(found) if isinstance(found, tuple) else (found,)

    def room(self):
        """Arrays for them, each with some of its memory unused."""
        return tuple(None if a is None else np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)[..., ::2]
                     for a in self.fresh())


def drawn(function):
    return lambda **arguments: function(rng=np.random.default_rng(1), **arguments)


LAYER = dict(features=FEATURES, classifier=CLASSIFIER)
CASES = {
    "entropy": Case(fs.entropy, dict(probs=P)),
    "kl_divergence": Case(fs.kl_divergence, dict(p=P, q=Q)),
    "js_divergence": Case(fs.js_divergence, dict(p=P, q=Q)),
    "score": Case(fs.score, dict(logits=X, labels=Y)),
    "score, top_k": Case(fs.score, dict(logits=X, labels=Y), dict(top_k=3)),
    "score, axis": Case(fs.score, dict(logits=np.moveaxis(X, -1, 0), labels=Y), dict(top_k=3, axis=0)),
    "topk": Case(fs.topk, dict(logits=X), dict(k=3)),
    "target_log_prob": Case(fs.target_log_prob, dict(logits=X, ids=IDS)),
    "sample": Case(drawn(fs.sample), dict(logits=X)),
    "rank_counts": Case(fs.rank_counts, dict(logits=X), dict(state=STATE)),
    "linear_score": Case(fs.linear_score, dict(**LAYER, labels=Y), dict(top_k=2)),
    "linear_topk": Case(fs.linear_topk, LAYER, dict(k=3)),
    "linear_target_log_prob": Case(fs.linear_target_log_prob, dict(**LAYER, ids=IDS)),
    "linear_sample": Case(drawn(fs.linear_sample), LAYER),
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def packed(arrays):
    """As a user passes them."""
    return arrays if len(arrays) > 1 else arrays[0]


@EACH
def test_out_is_written_and_returned(backend, case):
    right, room = case.fresh(), case.room()
    got = case(out=packed(room))
    got = got if isinstance(got, tuple) else (got,)
    for given, result, expected in zip(room, got, right, strict=True):
        assert result is given
        if expected is not None:
            checks.check_same_bits([result], [expected])


@EACH
def test_results_are_a_place_for_results(case):
    """What one call gives is written to by the next: no array is made for it."""
    first, again = case.fresh(), case.fresh()
    got = case(out=packed(tuple(None if a is None else a for a in first)))
    for a, b, c in zip(first, got if isinstance(got, tuple) else (got,), again, strict=True):
        assert a is b
        np.testing.assert_array_equal(b, c)


@EACH
def test_out_that_is_refused(case):
    room = case.room()
    for i, a in enumerate(room):
        name = "out" if len(room) == 1 else f"out[{i}]"
        if a is None:
            wrong = [(np.zeros(1), TypeError, "must be None, not ndarray")]
        else:
            other = np.int32 if a.dtype == np.int64 else np.float32
            read_only = a.copy()
            read_only.flags.writeable = False
            wrong = [(a.astype(other), TypeError, f"has dtype {np.dtype(other)}"), (read_only, ValueError, "is read-only"),
                     (a[:1], ValueError, "has shape"), (a.tolist(), TypeError, "must be a numpy array, not list"),
                     (np.broadcast_to(np.zeros((), a.dtype), a.shape), ValueError, "is read-only")]
        for bad, error, words in wrong:
            out = (*room[:i], bad, *room[i + 1:])
            with pytest.raises(error, match=rf"^{name}".replace("[", r"\[").replace("]", r"\]") + f" {words}"):
                case(out=packed(out))
            assert not any(a.any() for a in room if a is not None)


@EACH
def test_out_shares_no_memory(case):
    """Neither with an input nor with another result."""
    room = case.room()
    for name, value in case.inputs.items():
        for i, a in enumerate(room):
            if a is None:
                continue
            memory = np.zeros(max(value.nbytes, a.nbytes) + 8, np.uint8)
            inside = memory[:value.nbytes].view(value.dtype).reshape(value.shape)
            inside[...] = value
            out = list(case.room())
            out[i] = memory[:a.nbytes].view(a.dtype).reshape(a.shape)
            kept = memory.copy()
            with pytest.raises(ValueError, match=f"overlaps {name}$"):
                case(**{name: inside}, out=packed(tuple(out)))
            np.testing.assert_array_equal(memory, kept)
    if len(room) > 1 and room[0].shape == room[1].shape:
        out = list(case.room())
        out[1] = out[0].view(out[1].dtype)
        with pytest.raises(ValueError, match=r"^out\[1\] overlaps out\[0\]$"):
            case(out=tuple(out))


def test_a_tuple_of_the_wrong_length():
    checks.check_refused(lambda: fs.score(X, Y, out=(np.zeros(ROWS),)), ValueError,
                         r"^out has length 1, but must be a tuple \(losses, lse, .*, top_ids, top_log_probs\)")
    checks.check_refused(lambda: fs.score(X, Y, out=np.zeros(ROWS)), TypeError, "^out must be a tuple")


def test_rank_counts_leave_the_state_alone():
    state = fs.row_state(X, Y)
    own = state.labels
    checks.check_refused(lambda: fs.rank_counts(X, state, out=own), ValueError, "^out overlaps labels", own)
