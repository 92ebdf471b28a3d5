"""[1] Steps of an optimizer, one loop a rule over contiguous memory; `_steps.py` is the same, to be read.

Nothing is fused, so that each operation rounds by itself: the bits are those of NumPy.
"""

from functools import partial

import numpy as np

from ._numba_cache import kernel, pasted

exact = partial(kernel, fastmath=())


@pasted
def decayed(g, x, decay):
    return g + decay * x if decay != 0 else g


@exact
def _sgd(x, g, decay, lr):
    for i in range(len(x)):
        x[i] -= decayed(g[i], x[i], decay) * lr


@exact
def _momentum(x, g, decay, lr, momentum, velocity):
    for i in range(len(x)):
        velocity[i] = velocity[i] * momentum + decayed(g[i], x[i], decay)
        x[i] -= velocity[i] * lr


@exact
def _adagrad(x, g, decay, lr, eps, total):
    for i in range(len(x)):
        v = decayed(g[i], x[i], decay)
        total[i] += v * v
        x[i] -= v / (np.sqrt(total[i]) + eps) * lr


@exact
def _adam(x, g, decay, lr, eps, b1, c1, b2, c2, correction, mean, square):
    for i in range(len(x)):
        v = decayed(g[i], x[i], decay)
        mean[i] = mean[i] * b1 + v * c1
        square[i] = square[i] * b2 + v * v * c2
        x[i] -= mean[i] / (np.sqrt(square[i]) * correction + eps) * lr


RULES = {"sgd": _sgd, "momentum": _momentum, "adagrad": _adagrad, "adam": _adam}


def step(job):
    """run(start, stop) for a job whose arrays are contiguous and of one dtype."""
    function, real = RULES[job.rule], job.gradient.dtype.type
    numbers = [real(number) for number in (job.decay, *job.numbers)]
    width = job.gradient.size // max(1, len(job.gradient))
    x, g, *state = (a.reshape(-1) for a in (job.parameter, job.gradient, *job.state))

    def run(start, stop):
        part = slice(start * width, stop * width)
        function(x[part], g[part], *numbers, *(s[part] for s in state))
        return -1

    return run
