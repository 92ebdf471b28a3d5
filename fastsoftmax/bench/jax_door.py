"""What the door from JAX costs: python -m fastsoftmax.bench.jax_door. Exit status 1 where a figure misses its target.

Each figure compares contenders of the same interleaved rounds; each call is waited for. Plain calls read JAX's memory too:
NumPy's lies in huge pages, which make 4 % of a reading, and JAX's does not.
"""

import argparse
import ctypes
import functools
import sys

import numpy as np

import fastsoftmax as fs

from .rounds import ROUNDS, Timed, distrust, interleaved, noisy, summary

SMALL, LARGE = (8, 1_000), (512, 100_000)
MISSED = 1  # exit status
MORE_US, MORE_SHARE = 10.0, 0.05  # what jit may cost beyond the plain call
PAIRS = {"loss": "loss", "gradient": "gradient", "gradient in place": "gradient in place, donated"}  # plain: door


def _donating(loss, x, y):
    """A step that gives its logits away and has the gradient for its next ones: memory stays the same."""
    import jax

    step = jax.jit(jax.value_and_grad(loss), donate_argnums=0)
    state = [x]

    def run():
        _, state[0] = jax.block_until_ready(step(state[0], y))

    return run


def _memory_of(a):
    """A JAX array's memory as NumPy's array, to be written to, while the other lives."""
    size = ctypes.c_float * a.size
    return np.ctypeslib.as_array(size.from_address(a.unsafe_buffer_pointer())).reshape(a.shape)


def contenders(shape):
    """{name: what to time} for one shape."""
    import jax

    import fastsoftmax.jax as fj

    rng = np.random.default_rng(0)
    labels = rng.integers(shape[1], size=shape[0])
    x, given, donated = (jax.block_until_ready(jax.numpy.array(rng.standard_normal(shape, np.float32))) for _ in range(3))
    logits, own, y = _memory_of(x), _memory_of(given), jax.numpy.array(labels)
    loss, gradient = jax.jit(fj.cross_entropy), jax.jit(jax.value_and_grad(fj.cross_entropy))
    in_place = functools.partial(fj.cross_entropy, in_place=True)
    return {"plain loss": Timed(lambda: fs.cross_entropy(logits, labels)),
            "jit loss": Timed(lambda: jax.block_until_ready(loss(x, y))),
            "plain gradient": Timed(lambda: fs.cross_entropy_and_grad(logits, labels)),
            "jit gradient": Timed(lambda: jax.block_until_ready(gradient(x, y))),
            "plain gradient in place": Timed(lambda given=given: fs.cross_entropy_and_grad(own, labels, out=own)),
            "jit gradient in place, donated": Timed(_donating(in_place, donated, y)),
            "jit gradient of jax.nn": Timed(_of_jax_nn(x, y))}


def _of_jax_nn(x, y):
    import jax

    def loss(x, y):
        at = jax.numpy.take_along_axis(x, y[:, None], -1)[:, 0]
        return (jax.nn.logsumexp(x, -1) - at).mean()

    gradient = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(gradient(x, y))


def measure(shape, rounds, tell):
    """{name: summary of its timings}."""
    *_, taken = interleaved(contenders(shape), rounds, tell)
    return {name: summary(seconds) for name, seconds in taken.items()}


def figures(small, large):
    """[(what, wanted, measured, whether it is met)]."""
    found = []
    for plain, door in PAIRS.items():
        more = 1e3 * (small[f"jit {door}"]["ms"] - small[f"plain {plain}"]["ms"])
        found.append((f"8 x 1,000, {door}: microseconds over the plain call", f"{MORE_US:.0f}", f"{more:.1f}",
                      more <= MORE_US))
    for plain, door in PAIRS.items():
        share = large[f"jit {door}"]["ms"] / large[f"plain {plain}"]["ms"]
        found.append((f"512 x 100,000, {door}: times the plain call", f"{1 + MORE_SHARE:.2f}", f"{share:.3f}",
                      share <= 1 + MORE_SHARE))
    return found


def main(argv=None):
    """Measure, print -> exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.bench.jax_door", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args(argv).rounds

    def tell(text):
        print(text, end="\r", file=sys.stderr, flush=True)

    places = {"8 x 1,000": measure(SMALL, rounds, tell), "512 x 100,000": measure(LARGE, rounds, tell)}
    for place, taken in places.items():
        for name, s in taken.items():
            print(f"{place:14} {name:32} {1e3 * s['ms']:12.1f} us, spread {100 * s['spread']:.0f} %")
    found = figures(*places.values())
    for what, wanted, measured, met in found:
        print(f"{'met   ' if met else 'MISSED'} {what}: {measured}, at most {wanted}")
    doubt = distrust(rounds, {place: noisy(taken) for place, taken in places.items()})
    if doubt:
        print(doubt)
    return 0 if all(met for *_, met in found) else MISSED


if __name__ == "__main__":
    sys.exit(main())
