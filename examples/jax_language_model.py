"""A word-level language model in JAX: two words in, the next word out, the loss from fastsoftmax.jax under jit and grad.

    x = tanh(table[word before last] A + table[last word] B)    logits = x table^T    loss = -log softmax(logits)[next word]
"""

import jax
import numpy as np
from jax import numpy as jnp

import fastsoftmax as fs
import fastsoftmax.jax as fj

TEXT = """the cat sat on the mat . the dog sat on the log . the cat saw the dog . the dog saw the cat .
the chicken sat on the egg . the cat saw the chicken . the chicken saw the dog on the mat .""".split()
WORDS = fs.Vocabulary(sorted(set(TEXT)))


def pairs():
    """(two words, the next word), as indices."""
    ids = WORDS.encode(TEXT)
    return jnp.asarray(np.stack([ids[:-2], ids[1:-1]], axis=1)), jnp.asarray(ids[2:])


def start(n_features=16, seed=0):
    """Parameters, a dictionary of arrays."""
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = {"table": (len(WORDS), n_features), "first": (n_features, n_features), "last": (n_features, n_features)}
    return {name: jax.random.normal(key, shape) / n_features**0.5
            for (name, shape), key in zip(shapes.items(), keys, strict=True)}


def features(model, before):
    """(n_rows, 2) -> (n_rows, n_features)."""
    words = model["table"][before]
    return jnp.tanh(words[:, 0] @ model["first"] + words[:, 1] @ model["last"])


def loss(model, before, after):
    """The logits exist here, and their gradient takes their place."""
    return fj.cross_entropy(features(model, before) @ model["table"].T, after, in_place=True)


def loss_without_logits(model, before, after):
    """The same number for vocabularies whose logits would not fit memory."""
    return fj.linear_cross_entropy(features(model, before), model["table"], after)


@jax.jit
def step(model, before, after, rate=1.0):
    """Gradient descent -> (model, the loss before)."""
    value, gradient = jax.value_and_grad(loss)(model, before, after)
    return jax.tree.map(lambda a, g: a - rate * g, model, gradient), value


def fit(n_steps=200):
    """(model, the loss before every step)."""
    model, history = start(), []
    for _ in range(n_steps):
        model, value = step(model, *pairs())
        history.append(float(value))
    return model, history


def next_words(model, first, last, k=3):
    """The k likeliest words and their probabilities."""
    before = jnp.asarray(WORDS.encode([first, last]))[None]
    probs = fj.softmax(features(model, before) @ model["table"].T)[0]
    return [(WORDS.decode([int(i)])[0], float(probs[i])) for i in jnp.argsort(-probs)[:k]]


def main():
    model, history = fit()
    print(f"{len(WORDS)} words, loss {history[0]:.3f} -> {history[-1]:.3f}")
    print(f"without logits: {float(loss_without_logits(model, *pairs())):.3f}")
    for first, last in ("sat", "on"), ("the", "cat"):
        print(first, last, "->", ", ".join(f"{word} {100 * p:.0f} %" for word, p in next_words(model, first, last)))


if __name__ == "__main__":
    main()
