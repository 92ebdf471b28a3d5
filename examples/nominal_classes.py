"""Nominal classes: cat, chicken and dog have no order, so a number can only stand for them by name.

Two ways to write them down: an index (cat = 0), or a one-hot vector (cat = (1, 0, 0)). As vectors
all classes are equally far apart; as indices they take one number a row, which is all that a loss
over 100,000 classes can afford.
"""

import numpy as np

import fastsoftmax as fs

ANIMALS = fs.Vocabulary(["cat", "chicken", "dog"])


def distances(vectors):
    """The Euclidean distance of every pair of rows."""
    return np.linalg.norm(vectors[:, None] - vectors[None, :], axis=-1)


def main():
    seen = ["dog", "cat", "cat", "chicken"]
    labels = ANIMALS.encode(seen)
    vectors = fs.one_hot(labels, len(ANIMALS))

    print("classes:", ", ".join(f"{name} = {ANIMALS.encode(name)}" for name in ANIMALS.classes))
    for name, label, vector in zip(seen, labels, vectors, strict=True):
        print(f"  {name:8s} index {label}   one-hot {vector}")
    print("and back:", ANIMALS.decode(fs.from_one_hot(vectors)))

    every = fs.one_hot(np.arange(len(ANIMALS)), len(ANIMALS))
    print("distances between the one-hot vectors (all equal: there is no order):")
    print(distances(every).round(3))

    n_rows, n_classes = 512, 100_000
    print(f"{n_rows} labels out of {n_classes:,} classes: {8 * n_rows:,} bytes as indices,",
          f"{4 * n_rows * n_classes:,} as one-hot float32")


if __name__ == "__main__":
    main()
