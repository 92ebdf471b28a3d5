"""[5] SoftmaxClassifier: what scikit-learn's users call. The work is done in lbfgs, minibatch and rows."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import api
from . import labels, lbfgs, minibatch, rows
from .parameters import check
from .progress import bar
from .rows import Array, Layer, Matrix, Rows, is_very_sparse

ALLOWED = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}  # of X


class TopClasses(NamedTuple):
    """(n_rows, k) each, the likeliest class first."""

    classes: NDArray[Any]
    log_probs: NDArray[np.float64]


def _is_minibatch(estimator: "SoftmaxClassifier") -> bool:
    if estimator.solver not in minibatch.OPTIMIZERS:
        raise AttributeError(f"partial_fit needs a minibatch solver, one of {', '.join(minibatch.OPTIMIZERS)}, "
                             f"not {estimator.solver!r}")
    return True


@dataclass(eq=False, repr=False)
class SoftmaxClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Multinomial logistic regression over very many classes: LogisticRegression without its n_rows x n_classes arrays.

    Minimises, with weights s = sample_weight*class_weight and S their sum, p = softmax(X @ coef_.T + intercept_),

        sum_i s_i*(-log p[i, y_i])/S + |coef_|^2/(2*C*S)

    which is LogisticRegression's objective over S*C; the intercept is not penalised. Two classes are told apart by
    one row of coefficients and a sigmoid, as there.

    solver          "lbfgs": all rows at every step, to the optimum; scipy keeps 25 arrays of float64 as large as coef_.
                    "adagrad", "adam", "sgd" (momentum 0.9): some rows at every step, by optimizers of fastsoftmax.optim,
                    which keep 1, 2 and 1 arrays as large as coef_; for more classes or rows, and for partial_fit
    C               inverse of the penalty's strength; inf for none
    alpha           the penalty is alpha/2*|coef_|^2 instead, beside the mean loss: for partial_fit, where C counts the
                    weights of the rows seen so far only
    fit_intercept   whether there is an intercept
    class_weight    {class: weight}, 1 for others; or "balanced": S/(n_classes*weight of the class's rows)
    tol             lbfgs: largest part of the gradient at the end. Others: gain in loss, see n_iter_no_change
    max_iter        iterations of lbfgs, or epochs
    warm_start      whether `fit` begins where the last one ended, instead of zeros
    random_state    of the order of rows and of those held out
    learning_rate   minibatch: of the optimizer; None: 0.1 for adagrad, 0.01 for adam and sgd (1 for many classes)
    batch_size      minibatch: rows a step
    early_stopping  minibatch: hold rows out, end by their loss, and keep the parameters that were best by it
    validation_fraction  how many of the rows are held out, drawn from all alike
    n_iter_no_change     minibatch: epochs without a gain of tol, after which it ends
    max_workspace_bytes  what may be allocated beside data, parameters, and the solver's arrays as large as coef_
    verbose         1 for a progress bar

    classes_        (n_classes,) in order
    coef_           (n_classes, n_features), (1, n_features) of two classes; float32 where X is, else float64
    intercept_      (n_classes,), or (1,)
    n_iter_         iterations of lbfgs, or epochs
    loss_curve_     minibatch: the objective after each epoch, as seen on the way; validation_loss_curve_: of rows held out
    n_features_in_, feature_names_in_   as in all of scikit-learn
    """

    solver: str = "lbfgs"
    C: float = 1.0
    alpha: float | None = None
    fit_intercept: bool = True
    class_weight: Any = None
    tol: float = 1e-4
    max_iter: int = 100
    warm_start: bool = False
    random_state: Any = None
    learning_rate: float | None = None
    batch_size: int = 256
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 5
    max_workspace_bytes: int = 64 << 20
    verbose: int = 0

    def fit(self, X: Matrix, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to X (n_rows, n_features), dense or sparse, y (n_rows,) of numbers or strings, sample_weight (n_rows,)."""
        check(self)
        X, y = validate_data(self, X, y, **ALLOWED)
        classes, indices = labels.encode(y)
        data = self._rows(X, indices, classes, sample_weight)
        start = self._start(classes, X)
        self.classes_, self._weight_seen = classes, float(data.weights.sum())
        if self.solver == "lbfgs":
            self.__dict__.pop("_stepper", None)
            objective = lbfgs.Objective(data, len(classes), self.fit_intercept, self._decay(), self.max_workspace_bytes)
            layer, self.n_iter_ = lbfgs.fit(objective, start, self.tol, self.max_iter, self.verbose)
        else:
            layer = self._fit_minibatch(data, start)
        self._keep(layer)
        return self

    @available_if(_is_minibatch)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Matrix, y: Any, classes: ArrayLike | None = None,
                    sample_weight: ArrayLike | None = None) -> Self:
        """One epoch over these rows. `classes`, all that there will ever be, must be given at the first call."""
        check(self)
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all rows at once; give partial_fit a dict, or sample_weight")
        first = not hasattr(self, "coef_")
        known = self._known_classes(classes, first)
        X, y = validate_data(self, X, y, reset=first, **ALLOWED)
        data = self._rows(X, labels.encode_known(y, known), known, sample_weight)
        if first:
            self.classes_, self._weight_seen, self.n_iter_ = known, 0.0, 0
            self._keep(_zeros(len(known), X, self.fit_intercept))
        if not (hasattr(self, "_stepper") and isinstance(self._stepper.optimizer, minibatch.OPTIMIZERS[self.solver][0])):
            self._begin(X)
        self._weight_seen += float(data.weights.sum())
        data = data._replace(X=data.X.astype(self.coef_.dtype, copy=False))
        layer = self._stepper.laid_out(self._layer())
        with bar(self.verbose, minibatch.n_batches(data, self.batch_size), "batch") as told:
            loss = minibatch.epoch(self._stepper, data, layer, self._settings(), self._random, told)
        self.n_iter_, self.loss_curve_ = self.n_iter_ + 1, [*getattr(self, "loss_curve_", ()), loss]
        self._keep(layer)
        return self

    def decision_function(self, X: Matrix) -> Array:
        """The logits, (n_rows, n_classes); of two classes that of the second, (n_rows,). As many numbers as that."""
        X = self._features(X)
        values = rows.logits(X, Layer(self.coef_, self.intercept_), self.max_workspace_bytes)
        return values.ravel() if len(self.coef_) == 1 else values

    def predict_proba(self, X: Matrix) -> Array:
        """(n_rows, n_classes), and nothing else as large; where some classes of each row will do, see predict_topk."""
        values = rows.logits(self._features(X), self._layer(), self.max_workspace_bytes)
        return api.softmax(values, out=values)

    def predict_log_proba(self, X: Matrix) -> Array:
        """The logarithms of predict_proba."""
        values = rows.logits(self._features(X), self._layer(), self.max_workspace_bytes)
        return api.log_softmax(values, out=values)

    def predict(self, X: Matrix) -> Array:
        """The likeliest class of each row, (n_rows,)."""
        _, ids = rows.top(self._features(X), self._layer(), 1, self.max_workspace_bytes)
        return self.classes_[ids[:, 0]]

    def predict_topk(self, X: Matrix, k: int) -> TopClasses:
        """The k likeliest classes of each row and their log-probabilities, (n_rows, k) each, the likeliest first."""
        X = self._features(X)
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
            raise TypeError(f"k must be an integer, not {type(k).__name__}")
        if not 1 <= k <= len(self.classes_):
            raise ValueError(f"k is {k}, outside [1, {len(self.classes_)}], the number of classes")
        log_probs, ids = rows.top(X, self._layer(), int(k), self.max_workspace_bytes)
        return TopClasses(self.classes_[ids], log_probs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _features(self, X: Matrix) -> Matrix:
        check_is_fitted(self)
        return validate_data(self, X, reset=False, **ALLOWED)

    def _rows(self, X: Matrix, indices: NDArray[np.int64], classes: Array, sample_weight: ArrayLike | None) -> Rows:
        """Those whose weight is not 0."""
        weights = labels.row_weights(X, indices, classes, sample_weight, self.class_weight)
        data = Rows(X, indices, weights)
        return data if weights.all() else data.take(weights != 0)

    def _known_classes(self, classes: ArrayLike | None, first: bool) -> Array:
        if classes is None:
            if first:
                raise ValueError("classes must be given at the first call of partial_fit: all that there will ever be")
            return self.classes_
        found = np.unique(np.asarray(classes))
        if first and len(found) < 2:
            raise ValueError(f"classes has {len(found)} different ones, but there must be at least 2")
        if not first and not np.array_equal(found, self.classes_):
            raise ValueError("classes is not what it was at the first call of partial_fit; leave it out")
        return found

    def _start(self, classes: Array, X: Matrix) -> Layer:
        """Where `fit` begins: zeros, or with warm_start what it ended with."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return _zeros(len(classes), X, self.fit_intercept)
        if not np.array_equal(classes, self.classes_):
            raise ValueError(f"warm_start needs the {len(self.classes_)} classes of the last fit, but y has other ones, "
                             f"{len(classes)}")
        if X.shape[1] != self.coef_.shape[1]:
            raise ValueError(f"warm_start needs the {self.coef_.shape[1]} features of the last fit, but X has {X.shape[1]}")
        return self._layer().each(lambda a: a.astype(X.dtype, copy=False))

    def _decay(self) -> float:
        """Of the penalty decay/2*|classifier|^2 beside the mean loss. (Of two classes, |coef_|^2 is twice that: _layer.)"""
        alpha = 1 / (self.C * self._weight_seen) if self.alpha is None else self.alpha
        return float(2 * alpha if len(self.classes_) == 2 else alpha)

    def _layer(self) -> Layer:
        """One row a class, also of two classes: minus and plus half of coef_."""
        bias = self.intercept_ if self.fit_intercept else None
        if len(self.classes_) > 2:
            return Layer(self.coef_, bias)
        return Layer(self.coef_, bias).each(lambda a: np.concatenate((-a / 2, a / 2)))

    def _keep(self, layer: Layer) -> None:
        """coef_ and intercept_."""
        w, b = layer
        b = np.zeros(len(w), w.dtype) if b is None else b
        self.coef_, self.intercept_ = (w, b) if len(self.classes_) > 2 else (w[1:] - w[:1], b[1:] - b[:1])

    def _begin(self, X: Matrix) -> None:
        self._stepper = minibatch.Stepper(minibatch.make_optimizer(self.solver), is_very_sparse(X))
        self._random = check_random_state(self.random_state)

    def _settings(self) -> minibatch.Settings:
        usual = minibatch.OPTIMIZERS[self.solver][1]
        rate = usual if self.learning_rate is None else self.learning_rate
        return minibatch.Settings(rate, self._decay(), self.batch_size, self.max_iter, self.tol, self.n_iter_no_change,
                                  self.max_workspace_bytes, self.verbose)

    def _fit_minibatch(self, data: Rows, start: Layer) -> Layer:
        self._begin(data.X)
        held_out = None
        if self.early_stopping:
            kept, out = train_test_split(np.arange(data.n_rows), test_size=self.validation_fraction,
                                         random_state=self._random)
            data, held_out = data.take(kept), data.take(out)
        layer, history = minibatch.fit(self._stepper, data, self._stepper.laid_out(start), self._settings(), self._random,
                                       held_out)
        self.n_iter_, self.loss_curve_ = len(history.losses), history.losses
        if held_out is not None:
            self.validation_loss_curve_ = history.held_out
        return layer


def _zeros(n_classes: int, X: Matrix, has_bias: bool) -> Layer:
    return Layer(np.zeros((n_classes, X.shape[1]), X.dtype), np.zeros(n_classes, X.dtype) if has_bias else None)
