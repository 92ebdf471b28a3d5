"""[5] All rows at every step: L-BFGS, to the optimum."""

import contextlib
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from .progress import bar
from .rows import Array, Layer, Rows, is_very_sparse, loss_and_add_gradient

# As LogisticRegression has them, whose optimum and whose number of steps users compare.
LINE_SEARCH_STEPS, RELATIVE_DECREASE = 50, 64 * np.finfo(np.float64).eps
# scipy's own steps are on short vectors, and OpenBLAS's threads take milliseconds for one where others want the cores too:
# 100 iterations on 150 x 4 took 2.3 s with them, 0.12 s without. What is above this takes some 10 ms itself.
WORTH_BLAS_THREADS = 1_000_000_000  # rows times parameters


class Objective:
    """Weighted mean of losses + decay/2*|classifier|^2, and its gradient, of all parameters in one vector of float64.

    Computed in the dtype of X. The classifier lies in the vector class by class; feature by feature for a very sparse X.
    """

    def __init__(self, rows: Rows, n_classes: int, has_bias: bool, decay: float, max_bytes: int):
        self.rows = rows._replace(weights=rows.weights / rows.weights.sum())
        self.decay, self.max_bytes = decay, max_bytes
        self.n_classes, self.has_bias, self.by_features = n_classes, has_bias, is_very_sparse(rows.X)
        self.n_coefficients = n_classes * rows.X.shape[1]

    def layer(self, x: Array) -> Layer:
        """Views of the vector."""
        flat = x[:self.n_coefficients]
        shaped = flat.reshape(-1, self.n_classes).T if self.by_features else flat.reshape(self.n_classes, -1)
        return Layer(shaped, x[self.n_coefficients:] if self.has_bias else None)

    def vector(self, start: Layer) -> NDArray[np.float64]:
        """What `layer` takes apart."""
        x = np.empty(self.n_coefficients + self.n_classes * self.has_bias)
        parts = self.layer(x)
        parts.classifier[...] = start.classifier
        if parts.bias is not None and start.bias is not None:
            parts.bias[...] = start.bias
        return x

    def __call__(self, x: Array) -> tuple[float, Array]:
        dtype = self.rows.X.dtype
        gradient = np.zeros(len(x), dtype)
        loss = loss_and_add_gradient(self.rows, self.layer(x.astype(dtype, copy=False)), self.layer(gradient),
                                     self.max_bytes)
        wide, coefficients = gradient.astype(np.float64, copy=False), x[:self.n_coefficients]
        if self.decay:
            wide[:self.n_coefficients] += self.decay * coefficients
            loss += 0.5 * self.decay * float(coefficients @ coefficients)
        return loss, wide


def fit(objective: Objective, start: Layer, tol: float, max_iter: int, verbose: int) -> tuple[Layer, int]:
    """(parameters, number of iterations); a warning where it ended before the gradient was below tol."""
    with bar(verbose, max_iter, "iteration") as told:

        def callback(intermediate_result: optimize.OptimizeResult) -> None:
            told(float(intermediate_result.fun))

        x = objective.vector(start)
        few = objective.rows.n_rows * len(x) < WORTH_BLAS_THREADS
        with threadpool_limits(1, user_api="blas") if few else contextlib.nullcontext():
            found = optimize.minimize(objective, x, method="L-BFGS-B", jac=True, callback=callback,
                                      options={"maxiter": max_iter, "maxls": LINE_SEARCH_STEPS, "gtol": tol,
                                               "ftol": RELATIVE_DECREASE})
    n_iter = min(int(found.nit), max_iter)
    if found.status != 0:
        more = f" Increase max_iter, which is {max_iter}, or" if n_iter >= max_iter else " Increase tol, or"
        warnings.warn(f"lbfgs failed to converge after {n_iter} iterations (status {found.status}): {found.message}.{more} "
                      "scale the columns of X.", ConvergenceWarning, stacklevel=4)
    return objective.layer(found.x.astype(objective.rows.X.dtype)), n_iter
