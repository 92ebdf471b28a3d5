"""Gradients of a sure model without the classes that do not matter, and how far off they can be at most."""

import numpy as np

import fastsoftmax as fs

N_ROWS, N_FEATURES, N_CLASSES = 128, 64, 20_000
EPS = 1e-5  # of |p - onehot|: what may be left out


def model(seed=0):
    """features, classifier, bias, labels of a model whose likeliest classes are the first, as in a sorted vocabulary."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((N_ROWS, N_FEATURES), dtype=np.float32)
    classifier = 0.3 * rng.standard_normal((N_CLASSES, N_FEATURES), dtype=np.float32)
    bias = -1.5 * np.log(1 + np.arange(N_CLASSES, dtype=np.float32))
    return features, classifier, bias, rng.integers(0, 50, N_ROWS)


def shares(with_filter, without):
    """[(error, bound)] of dfeatures and dclassifier, both relative to the gradient."""
    found = []
    for got, want, bound in zip(with_filter[1:3], without[1:3], with_filter.bound[:2], strict=True):
        size = np.linalg.norm(want)
        found.append((float(np.linalg.norm(got - want) / size), float(bound / size)))
    return found


def main():
    features, classifier, bias, labels = model()
    without = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias)
    got = fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=EPS)
    print(f"loss {got.loss:.6f}, the same without a filter: {got.loss == without.loss}")
    print(f"multiplied: {got.bound.kept:.1%} of {N_ROWS:,} x {N_CLASSES:,}")
    print(f"of its p a row has lost {np.max(got.bound.dropped):.2%} at most")
    for name, (error, bound) in zip(("dfeatures", "dclassifier"), shares(got, without), strict=True):
        print(f"{name:11s} is off by {error:.1e}, and by {bound:.1e} at most")


if __name__ == "__main__":
    main()
