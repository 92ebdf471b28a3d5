"""A training loop that is compiled as a whole, and a transform of the logits compiled into its loss.

Inside `@njit` functions fastsoftmax's own are called as from Python. A transform is two small functions: f, its derivative.
"""

import math

import numpy as np
from numba import njit

import fastsoftmax as fs
from fastsoftmax.numba import fused_cross_entropy, row_softmax, tanh


@njit
def fit(features, labels, n_classes, n_steps, rate):
    """Softmax regression by gradient descent -> classifier, the loss before every step."""
    classifier, history = np.zeros((n_classes, features.shape[1])), np.empty(n_steps)
    for step in range(n_steps):
        logits = features @ classifier.T
        history[step], dlogits, _ = fs.cross_entropy_and_grad(logits, labels, out=logits)
        classifier -= rate * dlogits.T @ features
    return classifier, history


@njit
def confidences(logits):
    """The largest probability of each row, with no memory but one row's."""
    probs, found = np.empty(logits.shape[1]), np.empty(len(logits))
    for i in range(len(logits)):
        row_softmax(logits[i], probs)
        found[i] = probs.max()
    return found


@njit
def capped(x, cap):
    """No logit leaves (-cap, cap)."""
    return cap * tanh(x / cap)


@njit
def capped_slope(x, z, cap):
    """Its derivative, from its value z: no second tanh."""
    return 1 - (z / cap) ** 2


@njit
def logarithmic(x):
    """Large logits grow as their logarithm."""
    return math.copysign(math.log1p(abs(x)), x)


@njit
def logarithmic_slope(x):
    return 1 / (1 + abs(x))


def sample(n_rows=300, n_classes=5, seed=0):
    """Points around a centre for each class -> features (n_rows, 2), labels (n_rows,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n_rows)
    angle = 2 * np.pi * labels / n_classes
    return 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(size=(n_rows, 2)), labels


def main():
    features, labels = sample()
    classifier, history = fit(features, labels, 5, 100, 0.5)
    logits = features @ classifier.T
    print(f"compiled training loop: loss {history[0]:.4f} (= log 5) -> {history[-1]:.4f}")
    print(f"  mean confidence {confidences(logits).mean():.1%}")

    softcap = fused_cross_entropy((capped, capped_slope))
    loss, dlogits, _ = softcap(logits, labels, params=(3.0,))
    print(f"a cap of one's own at 3: loss {loss:.6f}, the library's {fs.cross_entropy(logits, labels, softcap=3.0):.6f}")
    loss, dlogits, _ = fused_cross_entropy((logarithmic, logarithmic_slope))(logits, labels)
    print(f"logarithms of large logits: loss {loss:.6f}, gradient of the first row {dlogits[0].round(6)}")


if __name__ == "__main__":
    main()
