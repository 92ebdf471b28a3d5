"""fastsoftmax: softmax, cross-entropy and gradients over 100,000 classes and more, at the speed of memory."""

from .api import CrossEntropyGrad as CrossEntropyGrad
from .api import LabelError as LabelError
from .api import cross_entropy as cross_entropy
from .api import cross_entropy_and_grad as cross_entropy_and_grad
from .api import entropy as entropy
from .api import get_num_threads as get_num_threads
from .api import kl_divergence as kl_divergence
from .api import log_softmax as log_softmax
from .api import log_softmax_grad as log_softmax_grad
from .api import logsumexp as logsumexp
from .api import set_backend as set_backend
from .api import set_num_threads as set_num_threads
from .api import show_config as show_config
from .api import soft_cross_entropy as soft_cross_entropy
from .api import soft_cross_entropy_and_grad as soft_cross_entropy_and_grad
from .api import softmax as softmax
from .api import softmax_grad as softmax_grad
from .api import use_backend as use_backend
from .api import use_num_threads as use_num_threads
from .api import warmup as warmup
from .api_linear import GradBound as GradBound
from .api_linear import LinearCrossEntropyGrad as LinearCrossEntropyGrad
from .api_linear import LinearCrossEntropyStep as LinearCrossEntropyStep
from .api_linear import TopK as TopK
from .api_linear import linear_cross_entropy as linear_cross_entropy
from .api_linear import linear_cross_entropy_and_grad as linear_cross_entropy_and_grad
from .api_linear import linear_cross_entropy_step as linear_cross_entropy_step
from .api_linear import linear_plan as linear_plan
from .api_linear import linear_sample as linear_sample
from .api_linear import linear_target_log_prob as linear_target_log_prob
from .api_linear import linear_topk as linear_topk
from .vocabulary import Vocabulary as Vocabulary
from .vocabulary import from_one_hot as from_one_hot
from .vocabulary import one_hot as one_hot

__version__ = "0.1.0"
