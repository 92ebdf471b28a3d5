"""[3] The arithmetic of partial states (api_states.RowState): merged in float64, finished.

Its fields are known here by their names alone: the class is public, a floor above. What contract.Look says of stats holds
of them, over a part of the classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import check

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def z_of(state: Any, x: Any) -> Floats:
    """What softmax sees of logits, with the state's temperature and softcap."""
    u = np.asarray(x, np.float64) * (1.0 / state.temperature)
    return np.asarray(u if state.softcap is None else state.softcap * np.tanh(u / state.softcap))


def gap(state: Any, m: Any, x: Any) -> Floats:
    """z(m) - z(x), the subtraction first where z is linear; 0 between equals, also infinite ones."""
    found = (m - x) * (1.0 / state.temperature) if state.softcap is None else z_of(state, m) - z_of(state, x)
    return np.where(m == x, 0.0, found)


def merged(a: Any, b: Any) -> Any:
    """Two states as one. Which is the first of two makes no difference, to the bit."""
    check.mergeable(a, b)
    first = _comes_first(a.m, a.argmax, b.m, b.argmax)

    def sorted_by_order(x: Any, y: Any) -> tuple[Any, Any]:
        return np.where(first, x, y), np.where(first, y, x)

    (high, low), (rest, rest_low) = sorted_by_order(a.m, b.m), sorted_by_order(a.rest, b.rest)
    (down, down_low), (argmax, _) = sorted_by_order(a.down, b.down), sorted_by_order(a.argmax, b.argmax)
    far = gap(a, high, low)
    e = np.exp(-far)
    total = 1 + rest_low
    adds = (e > 0) & ~((low == -np.inf) & (a.softcap is None))  # masked classes alone add nothing
    rest = np.where(adds, rest + e * total, rest)
    down = np.where(adds, down + e * (down_low + far * total), down)
    ids, logits = _first_of((a.top_ids, b.top_ids), (a.top_logits, b.top_logits))
    new = a._replace(m=high, rest=rest, down=down, argmax=argmax, top_ids=ids, top_logits=logits,
                     classes=_together(a.classes, b.classes))
    if a.labels is None:
        return new
    is_counted, label_logits = a.labels >= 0, np.where(a.has_label, a.label_logits, b.label_logits)
    return new._replace(rest=np.where(is_counted, rest, 0.0), down=np.where(is_counted, down, 0.0),
                        has_label=a.has_label | b.has_label, label_logits=label_logits)


def _together(runs: Any, others: Any) -> tuple[tuple[int, int], ...]:
    """Runs of classes that have none in common, in order, those that follow upon each other as one."""
    found: list[tuple[int, int]] = []
    for first, stop in sorted((*runs, *others)):
        if found and found[-1][1] == first:
            found[-1] = found[-1][0], stop
        else:
            found.append((first, stop))
    return tuple(found)


def _comes_first(m: Any, k: Any, other: Any, other_k: Any) -> Bools:
    """Whether class k, whose logit is m, comes before the other: contract.Look's order."""
    nan, other_nan = np.isnan(m), np.isnan(other)
    alike = (m == other) | (nan & other_nan)
    return np.asarray((nan & ~other_nan) | (~other_nan & (m > other)) | (alike & (k < other_k)))


def _first_of(ids: Any, logits: Any) -> tuple[NDArray[np.int64], Floats]:
    """The first k classes of two times k; -1 where there is none."""
    k = ids[0].shape[-1]
    ids, logits = np.concatenate(ids, -1), np.concatenate(logits, -1)
    order = np.lexsort((ids, np.where(np.isnan(logits), 0, -logits), ~np.isnan(logits), ids < 0), axis=-1)[..., :k]
    return np.take_along_axis(ids, order, -1), np.take_along_axis(logits, order, -1)


def counts(state: Any) -> Bools:
    """Which rows are not ignored."""
    return np.asarray(np.ones(state.m.shape, bool) if state.labels is None else state.labels >= 0)


def of_counted(state: Any, values: Any) -> Any:
    """Results of rows, 0 for those that are ignored."""
    return np.where(counts(state), values, 0.0)[()]


def lse(state: Any) -> Any:
    z = z_of(state, state.m)
    return of_counted(state, np.where(np.isfinite(z), z + np.log1p(state.rest), z))


def losses(state: Any) -> Any:
    check.has_every_label(state)
    return of_counted(state, np.log1p(state.rest) + gap(state, state.m, state.label_logits))


def entropy(state: Any) -> Any:
    return of_counted(state, np.log1p(state.rest) + state.down / (1 + state.rest))


def confidence(state: Any) -> Any:
    return of_counted(state, 1 / (1 + state.rest))


def top_log_probs(state: Any) -> Floats:
    found = gap(state, state.m[..., None], state.top_logits) + np.log1p(state.rest)[..., None]
    return np.where(counts(state)[..., None], -found, 0.0)
