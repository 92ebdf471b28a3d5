"""[5] The door from scikit-learn: multinomial logistic regression over very many classes.

rows (X in blocks, dense or sparse) <- labels (classes and weights), lbfgs and minibatch (the solvers) <- classifier.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError('fastsoftmax.sklearn needs scikit-learn: pip install "fastsoftmax[sklearn]"') from error

from .classifier import SoftmaxClassifier as SoftmaxClassifier
from .classifier import TopClasses as TopClasses

__all__ = ["SoftmaxClassifier", "TopClasses"]
