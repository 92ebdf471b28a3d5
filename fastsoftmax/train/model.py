"""A next-word model with the full softmax: previous words' embeddings -> tanh -> one logit per class."""

import copy

import numpy as np

import fastsoftmax as fs

from .. import optim

WORKSPACE_BYTES = 128 << 20  # the logits of 256 words and 100,000 classes fit, so that they are computed once
BLAS_THREADS_FROM = 1 << 18  # multiplications, in OpenBLAS


class Model:
    """logits = tanh([e, 1] hidden) classifier.T + bias, where e joins the embeddings of the n_previous words before.

    embedding (n_classes, n_embedding)    hidden (n_previous*n_embedding + 1, n_features)
    classifier (n_classes, n_features)    bias (n_classes,). All float32.
    """

    PARAMETERS = ("embedding", "hidden", "classifier", "bias")

    def __init__(self, *, embedding, hidden, classifier, bias):
        self.embedding, self.hidden, self.classifier, self.bias = embedding, hidden, classifier, bias
        self.n_previous = (len(hidden) - 1) // embedding.shape[1]

    @classmethod
    def new(cls, unigram, *, n_previous=3, n_embedding=32, n_features=48, seed=0):
        """Untrained: the bias is the log of the unigram frequencies and the classifier 0, so it predicts the unigram."""
        rng = np.random.default_rng(seed)
        n_classes, n_inputs = len(unigram), n_previous * n_embedding
        embedding = rng.standard_normal((n_classes, n_embedding), dtype=np.float32)
        hidden = rng.standard_normal((n_inputs + 1, n_features), dtype=np.float32)
        hidden /= np.float32(np.sqrt(n_inputs))
        classifier = np.zeros((n_classes, n_features), np.float32)
        return cls(embedding=embedding, hidden=hidden, classifier=classifier, bias=np.log(unigram).astype(np.float32))

    def parameters(self):
        """{name: array}, the arrays themselves."""
        return {name: getattr(self, name) for name in self.PARAMETERS}

    def features(self, contexts):
        """(n_rows, n_features) for contexts (n_rows, n_previous)."""
        return np.tanh(product(self._inputs(contexts), self.hidden))

    def _inputs(self, contexts):
        n_rows = len(contexts)
        return np.hstack([self.embedding[contexts].reshape(n_rows, -1), np.ones((n_rows, 1), np.float32)])

    def step(self, contexts, labels, optimizers):
        """One update on contexts (n_rows, n_previous), labels (n_rows,) -> mean loss in nats before it."""
        inputs = self._inputs(contexts)
        features = np.tanh(product(inputs, self.hidden))
        loss, dfeatures, *_ = fs.linear_cross_entropy_step(
            features, self.classifier, labels, bias=self.bias, optimizer=optimizers["classifier"],
            max_workspace_bytes=WORKSPACE_BYTES)
        dsums = dfeatures * (1 - np.square(features))
        dinputs = product(dsums, self.hidden[:-1].T)
        optimizers["hidden"].update("hidden", self.hidden, product(inputs.T, dsums))
        update_rows(optimizers["embedding"], "embedding", self.embedding, contexts.reshape(-1),
                    dinputs.reshape(contexts.size, -1))
        return float(loss)

    def losses(self, contexts, labels):
        """(n_rows,) float64, in nats."""
        return fs.linear_cross_entropy(self.features(contexts), self.classifier, labels, bias=self.bias,
                                       reduction="none", max_workspace_bytes=WORKSPACE_BYTES)

    def predict(self, context, k=5):
        """The k likeliest next classes after one context (n_previous,): (indices, probabilities)."""
        k = min(k, len(self.bias))
        log_probs, ids = fs.linear_topk(self.features(np.asarray(context)[None]), self.classifier, k, bias=self.bias)
        return ids[0], np.exp(log_probs[0])

    def sample(self, context, rng, temperature=1.0, top_k=0):
        """One class after one context, drawn from its softmax; from the top_k likeliest unless that is 0."""
        return int(fs.linear_sample(self.features(np.asarray(context)[None]), self.classifier, rng, bias=self.bias,
                                    temperature=temperature, top_k=min(top_k, len(self.bias)))[0])


def product(a, b):
    """a @ b, so few rows at a time that OpenBLAS takes no threads for it.

    Its threads spin for 0.1 s when they have nothing to do: on two cores the output layer's step took 110 ms, not 80.
    """
    out = np.empty((len(a), b.shape[1]), np.float32)
    rows = max(1, BLAS_THREADS_FROM // b.size)
    for i in range(0, len(a), rows):
        np.matmul(a[i:i + rows], b, out=out[i:i + rows])
    return out


def update_rows(optimizer, name, parameter, rows, gradient):
    """Step some rows of a parameter and their state, no others; rows that occur several times add up.

    A row that does not occur keeps its momentum: torch.optim.SparseAdam calls that lazy.
    """
    unique, where = np.unique(rows, return_inverse=True)
    total = np.zeros((len(unique), gradient.shape[1]), np.float32)
    np.add.at(total, where, gradient)
    optimizer.start(name, parameter)
    known, values, few = optimizer.state[name], parameter[unique], copy.copy(optimizer)
    few.state = {name: {key: a[unique] if a.ndim else a for key, a in known.items()}}
    few.step_part(name, values, total)
    parameter[unique] = values
    for key in optimizer.NAMES:
        known[key][unique] = few.state[name][key]


HIDDEN = 0.2  # the hidden layer's learning rate in units of that of the embedding and the classifier
ADAGRAD_START = 1e-6  # keeps the first, tiny gradients of absent classes from being blown up to full steps


def make_optimizers(kind, rate):
    """{"embedding": ..., "hidden": ..., "classifier": ...}; the bias goes with the classifier."""
    makers = {"adagrad": lambda lr: optim.Adagrad(lr, initial_accumulator_value=ADAGRAD_START, eps=0.0),
              "adam": optim.Adam, "sgd": optim.SGD}
    outer = makers[kind](rate)
    return {"embedding": outer, "hidden": makers[kind](HIDDEN * rate), "classifier": outer}
