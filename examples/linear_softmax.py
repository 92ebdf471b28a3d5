"""Softmax regression: a linear layer with one output a class, softmax and gradient descent.

    o = x W^T + b      p = softmax(o)     loss = -log p[label]     d loss / d o = p - onehot(label)
"""

import numpy as np

import fastsoftmax as fs

ANIMALS = fs.Vocabulary(["cat", "chicken", "dog"])
CENTRES = np.array([[-2.0, 1.0], [0.0, -2.0], [2.0, 1.0]])  # where each class lies in the plane


def sample(n_rows=300, seed=0):
    """Points around the centre of their class -> features (n_rows, 2), labels (n_rows,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(ANIMALS), size=n_rows)
    return CENTRES[labels] + rng.normal(scale=0.9, size=(n_rows, 2)), labels


def linear(features, classifier, bias):
    """One logit a class: (n_rows, n_features) -> (n_rows, n_classes)."""
    return features @ classifier.T + bias


def fit(features, labels, n_classes, n_steps=200, rate=0.5):
    """Plain gradient descent -> classifier, bias, the mean loss before every step."""
    classifier, bias = np.zeros((n_classes, features.shape[1])), np.zeros(n_classes)
    history = []
    for _ in range(n_steps):
        loss, dlogits, _ = fs.cross_entropy_and_grad(linear(features, classifier, bias), labels)
        classifier -= rate * dlogits.T @ features
        bias -= rate * dlogits.sum(axis=0)
        history.append(float(loss))
    return classifier, bias, history


def accuracy(logits, labels):
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def one_prediction():
    """Label (0, 1, 0), prediction (0.12, 0.64, 0.24) -> probs, loss, gradient."""
    logits = np.log([0.12, 0.64, 0.24])  # plus any constant: the softmax is the same
    label = fs.from_one_hot(np.array([0, 1, 0]))
    loss, dlogits, _ = fs.cross_entropy_and_grad(logits, label)
    return fs.softmax(logits), float(loss), dlogits


def main():
    probs, loss, dlogits = one_prediction()
    print("label (0, 1, 0), prediction", probs.round(2))
    print(f"  loss     = -log 0.64 = {loss:.6f}")
    print(f"  gradient = softmax - onehot = {dlogits.round(2)}, which sums to 0")

    features, labels = sample()
    classifier, bias, history = fit(features, labels, len(ANIMALS))
    logits = linear(features, classifier, bias)
    print(f"gradient descent on {len(labels)} points in {len(ANIMALS)} classes")
    loss = fs.cross_entropy(logits, labels)
    print(f"  loss {history[0]:.4f} (= log 3: nothing known) -> {loss:.4f}")
    print(f"  accuracy {accuracy(logits, labels):.1%}")
    for name, p in zip(ANIMALS.classes, fs.softmax(linear(CENTRES, classifier, bias)), strict=True):
        print(f"  at the centre of {name:8s} p = {p.round(3)}")


if __name__ == "__main__":
    main()
