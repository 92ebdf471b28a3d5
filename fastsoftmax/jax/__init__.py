"""[5] fastsoftmax for JAX: losses and softmax under jit, grad, jvp and vmap, computed by compiled kernels on the CPU.

Names, options and meaning are fastsoftmax's own, with jax.Array in and out. Gradients come with the loss, in one pass over
the logits. A label outside [0, n_classes) raises when the computation runs, also under jit. docs/jax.md has examples.
"""

try:
    from jax import ffi as _ffi
except ImportError as error:
    raise ImportError('fastsoftmax.jax needs JAX 0.5 or later: pip install "fastsoftmax[jax]"') from error

from .calls import handler as _handler
from .linear import linear_cross_entropy as linear_cross_entropy
from .losses import cross_entropy as cross_entropy
from .losses import soft_cross_entropy as soft_cross_entropy
from .losses import softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels
from .rows import log_softmax as log_softmax
from .rows import logsumexp as logsumexp
from .rows import softmax as softmax

_handler()  # a program that was compiled or exported elsewhere asks XLA for it by its name
del _ffi, _handler
