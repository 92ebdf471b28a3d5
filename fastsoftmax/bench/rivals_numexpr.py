"""NumExpr: blocked, threaded elementwise expressions; its reductions run on one thread, so NumPy's do them."""

import numexpr
import numpy as np

from .. import threads
from .rivals import Contender
from .rivals_numpy import at_labels, dot


def _exps(i):
    """(maxima, exp(x - maxima), their sums); the table goes to `out` where there is one."""
    maxima = i.x.max(axis=i.axis, keepdims=True)
    table = np.empty_like(i.x) if i.out is None else i.out
    numexpr.evaluate("exp(x - m)", {"x": i.x, "m": maxima}, out=table)
    return maxima, table, table.sum(axis=i.axis, keepdims=True)


def _logsumexp(i):
    maxima, _, sums = _exps(i)
    return np.squeeze(np.log(sums) + maxima, i.axis), None


def _loss(i):
    return (_logsumexp(i)[0] - np.squeeze(at_labels(i, i.x), i.axis)).mean(), None


def _gradient(i):
    """Into `out`, or in place into x."""
    at_label = at_labels(i, i.x)
    table = i.x if i.out is None else i.out
    maxima = i.x.max(axis=i.axis, keepdims=True)
    numexpr.evaluate("exp(x - m)", {"x": i.x, "m": maxima}, out=table)
    sums = table.sum(axis=i.axis, keepdims=True)
    loss = (np.log(sums) + maxima - at_label).mean()
    scale = i.x.dtype.type(1 / i.labels.size)
    numexpr.evaluate("e*r", {"e": table, "r": scale / sums}, out=table)
    np.put_along_axis(table, np.expand_dims(i.labels, i.axis), at_labels(i, table) - scale, i.axis)
    return loss, table


def _softmax(i):
    _, exps, sums = _exps(i)
    return None, numexpr.evaluate("e*r", {"e": exps, "r": 1 / sums}, out=exps)


def _log_softmax(i):
    maxima, exps, sums = _exps(i)
    return None, numexpr.evaluate("x - l", {"x": i.x, "l": maxima + np.log(sums)}, out=exps)


def _softmax_grad(i):
    sums = np.expand_dims(dot(i, i.x, i.second), i.axis)
    return None, numexpr.evaluate("p*(g - s)", {"p": i.x, "g": i.second, "s": sums}, out=i.out)


OPERATIONS = {"loss": _loss, "gradient-in-place": _gradient, "gradient": _gradient, "softmax": _softmax,
              "log-softmax": _log_softmax, "logsumexp": _logsumexp, "softmax-grad": _softmax_grad}


def _wrap(inputs):
    numexpr.set_num_threads(threads.get_num_threads())
    return inputs


def load(_):
    """The contender."""
    return Contender(OPERATIONS, _wrap)
