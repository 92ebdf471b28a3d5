"""Thousands of classes named by strings, with scikit-learn: which of 2,000 words, from 32 features of its context."""

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastsoftmax.sklearn import SoftmaxClassifier


def sample(n_rows=8_000, n_features=32, n_classes=2_000, seed=0):
    """Features float32 around the centre of their class, and its name -> X (n_rows, n_features), y (n_rows,)."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n_rows) % n_classes)
    centres = rng.standard_normal((n_classes, n_features), np.float32)
    X = centres[labels] + rng.standard_normal((n_rows, n_features), np.float32)
    return X, np.array([f"word-{k:04d}" for k in labels])


def main():
    X, y = sample()
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    model = make_pipeline(StandardScaler(), SoftmaxClassifier(solver="adagrad", tol=0.05, random_state=0))
    model.fit(X_train, y_train)
    softmax = model[-1]
    print(f"{len(softmax.classes_):,} classes, {softmax.n_iter_} epochs, loss {softmax.loss_curve_[0]:.2f} -> "
          f"{softmax.loss_curve_[-1]:.2f}; guessing has {np.log(len(softmax.classes_)):.2f}")

    best = softmax.predict_topk(model[:-1].transform(X_test), 5)
    found = best.classes == y_test[:, None]
    print(f"right {found[:, 0].mean():.1%}, among the first five {found.any(axis=1).mean():.1%}")
    for truth, names, log_probs in zip(y_test[:3], best.classes, best.log_probs, strict=False):
        print(f"  {truth}: " + ", ".join(f"{name} {p:.0%}" for name, p in zip(names[:3], np.exp(log_probs), strict=False)))

    # More rows, later: an epoch over these alone.
    softmax.partial_fit(model[:-1].transform(X_test), y_test)
    print(f"after one epoch over the test rows too: {softmax.score(model[:-1].transform(X_test), y_test):.1%} of them")


if __name__ == "__main__":
    main()
