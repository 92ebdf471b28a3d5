"""[4] The public functions of a vocabulary in parts: who holds some classes makes a state of the rows, states are merged.

A state is a few numbers a row, whatever the number of classes: what is sent from process to process in the place of logits.
Labels and ids are those of the whole vocabulary; shard_offset says which of them the first class of an array is. Logits may
be of any library, the arrays of a state are NumPy's.
"""

from __future__ import annotations  # help() then shows names, not what they stand for

from collections.abc import Iterable
from typing import Any, NamedTuple, SupportsIndex, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import check, shards, states
from .api import put, quiet
from .api_score import Scores, TopK
from .foreign import any_array
from .typing import FloatT, ForeignT, Labels, Number, Rows

Floats = NDArray[np.float64]


class RowState(NamedTuple):
    """What is known of rows from some of their classes: arrays (...), to be merged with those of the other classes.

    m              the logit of the first class, in the order of fastsoftmax.score: the largest, NaN before all
    rest           sum of exp(z - z_m) over all classes but one of logit m, NaN where m is not finite
    down           sum of exp(z - z_m)*(z_m - z)
    argmax         the first class
    labels, has_label, label_logits   the labels, -1 for ignored rows; whether they are among the classes, and their logits,
                   NaN where not; None without labels
    top_ids, top_logits   (..., top_k) the first classes and their logits, -1 and -inf where there are no more
    temperature, softcap  as given: z = softcap*tanh(logits/temperature/softcap)
    classes        the classes that are known, as runs (first, stop) in order

    Of ignored rows all numbers are 0 and all classes -1, in results too.
    """

    m: Floats
    rest: Floats
    down: Floats
    argmax: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    has_label: NDArray[np.bool_] | None
    label_logits: Floats | None
    top_ids: NDArray[np.int64]
    top_logits: Floats
    temperature: float
    softcap: float | None
    classes: tuple[tuple[int, int], ...]

    def merge(self, *others: RowState) -> RowState:
        """With the states of the same rows over other classes, one after the other."""
        return merge_states((self, *others))

    @quiet
    def lse(self) -> Rows[np.float64]:
        """log-sum-exp, (...)."""
        return states.lse(self)

    @quiet
    def losses(self) -> Rows[np.float64]:
        """-log softmax(logits)[labels], (...). Raises LabelError where a label is in no shard."""
        return states.losses(self)

    @quiet
    def entropy(self) -> Rows[np.float64]:
        """-sum p*log p, (...)."""
        return states.entropy(self)

    @quiet
    def topk(self) -> TopK:
        """The first top_k classes and their log-probabilities, (..., top_k)."""
        return TopK(states.top_log_probs(self), self.top_ids)

    @quiet
    def scores(self, n_before: ArrayLike) -> Scores:
        """What fastsoftmax.score gives; n_before: the sum over all shards of rank_counts."""
        losses = states.losses(self)
        before = check.counts_before(n_before, self.m.shape)
        ranks = np.where(states.counts(self), 1 + before, 0)[()]
        top: tuple[Any, Any] = (self.top_ids, states.top_log_probs(self)) if self.top_ids.shape[-1] else (None, None)
        return Scores(losses, states.lse(self), 0 - losses, ranks, self.argmax[()], states.entropy(self),
                      states.confidence(self), *top)


@quiet
def row_state(logits: ArrayLike, labels: Labels | None = None, *, shard_offset: SupportsIndex = 0,
              top_k: SupportsIndex = 0, ignore_index: SupportsIndex | None = -100, temperature: Number = 1.0,
              softcap: Number | None = None, axis: SupportsIndex = -1) -> RowState:
    """The state of rows over some of their classes, in one reading -> RowState.

    logits        (..., n) floats, of the classes shard_offset to shard_offset + n
    labels        (...) class indices of the whole vocabulary, the same for all shards
    top_k         how many of the likeliest classes are to be known of the whole; a shard may have fewer

    merge_states((row_state(a, y), row_state(b, y, shard_offset=n_a))) is row_state of both side by side, up to rounding.
    Raises LabelError for a label below 0; that one is in no shard is found out when losses are asked for.
    """
    shard = check.shard(logits, labels, shard_offset, ignore_index, softcap, temperature, axis)
    fields = shards.read(shard, check.size_of(top_k))
    return RowState(**fields, temperature=float(temperature), softcap=None if softcap is None else float(softcap))


@quiet
def merge_states(given: Iterable[RowState]) -> RowState:
    """States of the same rows over different classes as one, folded in their order, in float64.

    Associative up to rounding; the same tree gives the same bits, whoever merges, whichever of two comes first. Classes,
    labels and counts are exact in any order. Raises ValueError for states whose rows, labels or options differ, and where
    two have a class in common.
    """
    first, *others = check.state_list(given, RowState)
    for other in others:
        first = states.merged(first, other)
    merged: RowState = first
    return merged


@overload
def rank_counts(logits: ForeignT, state: RowState, *, shard_offset: SupportsIndex = 0, axis: SupportsIndex = -1,
                out: ForeignT | None = None) -> ForeignT: ...
@overload
def rank_counts(logits: ArrayLike, state: RowState, *, shard_offset: SupportsIndex = 0, axis: SupportsIndex = -1,
                out: NDArray[Any] | None = None) -> Rows[np.int64]: ...
@any_array
@quiet
def rank_counts(logits: ArrayLike, state: RowState, *, shard_offset: SupportsIndex = 0, axis: SupportsIndex = -1,
                out: NDArray[Any] | None = None) -> Rows[np.int64]:
    """How many classes of a shard come before the label, (...) int64; 1 + their sum over all shards is its rank.

    logits  those of row_state        state  the merged one, which knows the labels and their logits
    out     where they go, of no state's arrays
    A second reading of the logits: before the first no shard but one knows the label's. Raises ValueError for classes that
    the state does not know.
    """
    shard = check.shard_of(logits, check.one_state(state, RowState), shard_offset, axis)
    lead = shard.problem.lead
    known = {name: a for name, a in state._asdict().items() if isinstance(a, np.ndarray)}
    targets = check.targets_of(out, {"counts": (lead, np.int64)}, logits=logits, **known)
    return put(targets, (shards.count_before(shard, state).reshape(lead)[()],))[0]


@overload
def shard_cross_entropy_grad(logits: ForeignT, state: RowState, *, shard_offset: SupportsIndex = 0,
                             dlosses: ArrayLike | None = None, z_loss: Number = 0.0, axis: SupportsIndex = -1,
                             out: ForeignT | None = None) -> ForeignT: ...
@overload
def shard_cross_entropy_grad(logits: NDArray[FloatT], state: RowState, *, shard_offset: SupportsIndex = 0,
                             dlosses: ArrayLike | None = None, z_loss: Number = 0.0, axis: SupportsIndex = -1,
                             out: NDArray[Any] | None = None) -> NDArray[FloatT]: ...
@overload
def shard_cross_entropy_grad(logits: ArrayLike, state: RowState, *, shard_offset: SupportsIndex = 0,
                             dlosses: ArrayLike | None = None, z_loss: Number = 0.0, axis: SupportsIndex = -1,
                             out: NDArray[Any] | None = None) -> NDArray[Any]: ...
@any_array
@quiet
def shard_cross_entropy_grad(logits: ArrayLike, state: RowState, *, shard_offset: SupportsIndex = 0,
                             dlosses: ArrayLike | None = None, z_loss: Number = 0.0, axis: SupportsIndex = -1,
                             out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The gradient of the losses with respect to a shard's logits: softmax over all classes, less 1 at the label.

    logits   those of row_state            state  the merged one, which knows the labels, temperature and softcap
    dlosses  the upstream gradient, a scalar or (...): of the mean over n rows, 1/n; weights of rows or labels go in here
    z_loss   where losses + z_loss*lse^2 is what counts
    out      where it goes: `logits` itself for in place

    Reads the logits once. Exact also where p -> 1. Ignored rows get 0. Raises ValueError for classes that the state
    does not know.
    """
    a = check.array(logits, "logits")
    shard, upstream = check.shard_grad(a, check.shard_of(a, check.one_state(state, RowState), shard_offset, axis), dlosses,
                                       z_loss, axis, out)
    return shards.gradient(shard, state, upstream)
