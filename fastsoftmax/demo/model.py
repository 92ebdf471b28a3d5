"""A next-word model with the full softmax: previous words' embeddings -> tanh -> one logit per class."""

import numpy as np

import fastsoftmax as fs

N_PREVIOUS = 3


class Model:
    """logits = [tanh(e W1 + b1), 1] W2.T, where e joins the embeddings of the N_PREVIOUS words before.

    embedding (n_classes, n_embedding)    hidden (N_PREVIOUS*n_embedding + 1, n_features - 1)
    classifier (n_classes, n_features): its last column is the bias, started at the log unigram frequencies,
    so that the untrained model already predicts the unigram. All float32.
    """

    def __init__(self, unigram, *, n_embedding=32, n_features=48, seed=0):
        rng = np.random.default_rng(seed)
        n_classes, n_inputs = len(unigram), N_PREVIOUS * n_embedding
        self.embedding = rng.standard_normal((n_classes, n_embedding), dtype=np.float32)
        self.hidden = rng.standard_normal((n_inputs + 1, n_features - 1), dtype=np.float32)
        self.hidden /= np.float32(np.sqrt(n_inputs))
        self.classifier = np.zeros((n_classes, n_features), np.float32)
        self.classifier[:, -1] = np.log(unigram)
        self._dclassifier = np.empty_like(self.classifier)
        self._logits = np.empty((0, n_classes), np.float32)
        self._steps = {name: Adagrad(getattr(self, name), rate, start) for name, rate, start in RATES}

    def forward(self, contexts):
        """logits (n_rows, n_classes) for contexts (n_rows, N_PREVIOUS); the buffer is used again by the next call."""
        n_rows = len(contexts)
        if len(self._logits) < n_rows:
            self._logits = np.empty((n_rows, len(self.classifier)), np.float32)
        ones = np.ones((n_rows, 1), np.float32)
        self._inputs = np.hstack([self.embedding[contexts].reshape(n_rows, -1), ones])
        self._features = np.hstack([np.tanh(self._inputs @ self.hidden), ones])
        return np.matmul(self._features, self.classifier.T, out=self._logits[:n_rows])

    def step(self, contexts, labels):
        """One update on contexts (n_rows, N_PREVIOUS), labels (n_rows,) -> mean loss in nats before it."""
        logits = self.forward(contexts)
        loss, dlogits, _ = fs.cross_entropy_and_grad(logits, labels, out=logits)  # softmax - onehot, in place
        dfeatures = (dlogits @ self.classifier)[:, :-1]
        np.matmul(dlogits.T, self._features, out=self._dclassifier)
        dsums = dfeatures * (1 - np.square(self._features[:, :-1]))
        dinputs = dsums @ self.hidden[:-1].T
        self._steps["hidden"].update(self._inputs.T @ dsums)
        self._steps["classifier"].update(self._dclassifier)
        self._steps["embedding"].update_rows(contexts.reshape(-1), dinputs.reshape(contexts.size, -1))
        return float(loss)

    def losses(self, contexts, labels, batch=256):
        """(n_rows,) float64, in nats."""
        found = [fs.cross_entropy(self.forward(contexts[i:i + batch]), labels[i:i + batch], reduction="none")
                 for i in range(0, len(labels), batch)]
        return np.concatenate(found)

    def predict(self, context, k=5):
        """The k likeliest next classes after one context (N_PREVIOUS,): (indices, probabilities)."""
        probs = fs.softmax(self.forward(np.asarray(context)[None]))[0]
        best = np.argsort(probs)[::-1][:k]
        return best, probs[best]


class Adagrad:
    """x -= rate * g / sqrt(start + sum of g^2): large steps for rare classes (Duchi, Hazan and Singer, 2011).

    `start` keeps the first, tiny gradients of absent classes from being blown up to full steps.
    """

    CHUNK = 1 << 16  # elements: the four arrays of a chunk stay in the level 2 cache

    def __init__(self, values, rate, start):
        self.values, self.rate = values, np.float32(rate)
        self.sums = np.full(values.shape, start, np.float32)

    def update(self, gradient):
        """A step on every element; `gradient` is used up as workspace."""
        flat = [a.reshape(-1) for a in (self.values, self.sums, gradient)]
        work = np.empty(self.CHUNK, np.float32)
        for i in range(0, flat[0].size, self.CHUNK):
            x, sums, g = (a[i:i + self.CHUNK] for a in flat)
            w = np.square(g, out=work[:len(g)])
            sums += w
            np.sqrt(sums, out=w)
            g *= self.rate
            g /= w
            x -= g

    def update_rows(self, rows, gradient):
        """A step on some rows; rows that occur several times add up."""
        unique, where = np.unique(rows, return_inverse=True)
        total = np.zeros((len(unique), gradient.shape[1]), np.float32)
        np.add.at(total, where, gradient)
        self.sums[unique] += np.square(total)
        self.values[unique] -= self.rate * total / np.sqrt(self.sums[unique])


RATES = (("embedding", 0.1, 1e-6), ("hidden", 0.02, 1e-6), ("classifier", 0.1, 1e-6))
