"""[5] Some rows at every step: an optimizer of fastsoftmax.optim, which steps parameters in place."""

import math
import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import api_linear, optim
from .progress import Told, bar
from .rows import Layer, Rows, is_very_sparse, loss_and_add_gradient, mean_loss

# name: (optimizer, its learning rate where none is given)
OPTIMIZERS = {"adagrad": (optim.Adagrad, 0.1), "adam": (optim.Adam, 0.01), "sgd": (optim.SGD, 0.01)}


def make_optimizer(solver: str) -> optim.Optimizer:
    """The optimizer of that name; its learning rate and decay are set at each epoch."""
    kind, usual = OPTIMIZERS[solver]
    options = {"momentum": 0.9} if solver == "sgd" else {}
    made: optim.Optimizer = kind(usual, **options)
    return made


class Stepper:
    """What is kept from step to step: the optimizer, and how the classifier lies in memory, on which its state depends.

    by_features: whether it lies feature by feature, for a very sparse X.
    """

    def __init__(self, optimizer: optim.Optimizer, by_features: bool):
        self.optimizer, self.by_features = optimizer, by_features

    def laid_out(self, layer: Layer) -> Layer:
        """The parameters as they can be stepped: themselves where they lie so."""
        return layer.each(lambda a: np.require(a, None, ["F" if self.by_features else "C", "A", "W"]))

    def step(self, rows: Rows, layer: Layer, max_bytes: int) -> float:
        """One step by these rows; the sum of their losses before it."""
        dense = rows.X.toarray() if hasattr(rows.X, "toarray") and not is_very_sparse(rows.X) else rows.X
        if not self.by_features and isinstance(dense, np.ndarray):
            return float(api_linear.linear_cross_entropy_step(
                dense, layer.classifier, rows.labels, bias=layer.bias, sample_weight=rows.weights, reduction="sum",
                optimizer=self.optimizer, wrt=(), max_workspace_bytes=max_bytes).loss)
        gradient = layer.each(np.zeros_like)
        loss = loss_and_add_gradient(rows._replace(X=dense), layer, gradient, max_bytes)
        for name, parameter, its in zip(Layer._fields, layer, gradient, strict=True):
            if parameter is not None and its is not None:
                self.optimizer.update(name, *((parameter.T, its.T) if self.by_features else (parameter, its)))
        return loss


@dataclass(frozen=True)
class Settings:
    """decay: of the penalty decay/2*|classifier|^2 beside the mean loss; patience: epochs without a gain of tol."""

    rate: float
    decay: float
    batch_size: int
    max_iter: int
    tol: float
    patience: int
    max_bytes: int
    verbose: int


@dataclass
class History:
    """losses: after each epoch, the mean over its steps plus the penalty; held_out: the loss of rows held out."""

    losses: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    converged: bool = False


def n_batches(rows: Rows, batch_size: int) -> int:
    return math.ceil(rows.n_rows / batch_size)


def epoch(stepper: Stepper, rows: Rows, layer: Layer, settings: Settings, rng: np.random.RandomState, told: Told) -> float:
    """Every row once, in random order, in batches that differ by one row at most -> the objective on the way.

    A batch's gradient is scaled so that it is that of all rows on average, whatever weights its rows have.
    """
    stepper.optimizer.lr, stepper.optimizer.weight_decay = settings.rate, {"classifier": settings.decay}
    mean, weight = 0.0, float(rows.weights.sum())
    for chosen in np.array_split(rng.permutation(rows.n_rows), n_batches(rows, settings.batch_size)):
        batch = rows.take(chosen)
        share = len(chosen) / rows.n_rows
        loss = stepper.step(batch._replace(weights=batch.weights / (weight * share)), layer, settings.max_bytes)
        mean += share * loss
        told(loss)
    flat = layer.classifier.ravel(order="K")
    objective = mean + 0.5 * settings.decay * float(flat @ flat)
    if not (math.isfinite(objective) and np.isfinite(flat).all()):
        raise ValueError("Floating-point overflow: the loss is no longer finite. Scale the columns of X, or lower "
                         f"learning_rate, which is {settings.rate}")
    return objective


def fit(stepper: Stepper, rows: Rows, layer: Layer, settings: Settings, rng: np.random.RandomState,
        held_out: Rows | None) -> tuple[Layer, History]:
    """Epochs until there is no gain; with rows held out, the parameters that were best by them."""
    history, best = History(), layer
    with bar(settings.verbose, settings.max_iter * n_batches(rows, settings.batch_size), "batch") as told:
        for _ in range(settings.max_iter):
            history.losses.append(epoch(stepper, rows, layer, settings, rng, told))
            if held_out is not None:
                history.held_out.append(mean_loss(held_out, layer, settings.max_bytes))
                if history.held_out[-1] == min(history.held_out):
                    best = layer.each(lambda a: a.copy(order="K"))
            if _without_gain(history.losses if held_out is None else history.held_out, settings.tol) >= settings.patience:
                history.converged = True
                break
    if not history.converged:
        warnings.warn(f"{settings.max_iter} epochs, max_iter, were over before the loss stopped falling by tol = "
                      f"{settings.tol}. Increase max_iter, or change learning_rate.", ConvergenceWarning, stacklevel=4)
    return best, history


def _without_gain(losses: list[float], tol: float) -> int:
    """How many epochs in a row, to the last one, did not better what was best before by tol."""
    best, since = math.inf, 0
    for loss in losses:
        since = 0 if loss < best - tol else since + 1
        best = min(best, loss)
    return since

