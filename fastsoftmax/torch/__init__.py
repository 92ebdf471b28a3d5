"""[5] PyTorch: torch's own signatures and meaning over fastsoftmax's kernels, on the CPU: `import fastsoftmax.torch`.

Tensors share their memory with the arrays that the kernels see. Every function is an operator of torch.library, so that
torch.compile, export and tracing keep it whole; differentiable to any order.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as _missing:
    raise ImportError('fastsoftmax.torch needs PyTorch: pip install "fastsoftmax[torch]"') from _missing

from .linear import linear_cross_entropy as linear_cross_entropy
from .losses import cross_entropy as cross_entropy
from .memory import empty_cache as empty_cache
from .modules import CrossEntropyLoss as CrossEntropyLoss
from .modules import LinearCrossEntropyLoss as LinearCrossEntropyLoss
from .softmaxes import log_softmax as log_softmax
from .softmaxes import softmax as softmax
