"""[5] PyTorch: torch's own signatures and meaning over fastsoftmax's kernels, on the CPU: `import fastsoftmax.torch`.

Tensors share their memory with the arrays that the kernels see. Every function is an operator of torch.library, so that
torch.compile, export and tracing keep it whole; differentiable to any order.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as _missing:
    raise ImportError('fastsoftmax.torch needs PyTorch: pip install "fastsoftmax[torch]"') from _missing

from .divergences import entropy_with_logits as entropy_with_logits
from .divergences import kl_divergence_with_logits as kl_divergence_with_logits
from .linear import linear_cross_entropy as linear_cross_entropy
from .losses import cross_entropy as cross_entropy
from .memory import empty_cache as empty_cache
from .modules import CrossEntropyLoss as CrossEntropyLoss
from .modules import KLDivergenceLoss as KLDivergenceLoss
from .modules import LinearCrossEntropyLoss as LinearCrossEntropyLoss
from .modules import SparseCrossEntropyLoss as SparseCrossEntropyLoss
from .scores import Scores as Scores
from .scores import TopK as TopK
from .scores import sample as sample
from .scores import score as score
from .scores import topk as topk
from .softmaxes import log_softmax as log_softmax
from .softmaxes import softmax as softmax
from .sparse import sparse_cross_entropy as sparse_cross_entropy
from .sparse import target_log_prob as target_log_prob
