"""[3] Raw arguments -> Problem. The only place with text that a user reads as an error."""

from .arrays import array as array
from .arrays import class_axis_last as class_axis_last
from .arrays import same_shape as same_shape
from .linear import GRADIENTS as GRADIENTS
from .linear import LinearProblem as LinearProblem
from .linear import linear_cross_entropy as linear_cross_entropy
from .linear import linear_step as linear_step
from .linear import workspace_error as workspace_error
from .numbers import backend_name as backend_name
from .numbers import number as number
from .numbers import one_of as one_of
from .numbers import thread_count as thread_count
from .problems import EMPTIES as EMPTIES
from .problems import REDUCTIONS as REDUCTIONS
from .problems import Problem as Problem
from .problems import cross_entropy as cross_entropy
from .problems import pair as pair
from .problems import single as single
from .problems import softmax as softmax
from .rows import LabelError as LabelError
from .rows import class_count as class_count
from .rows import class_indices as class_indices
from .rows import label_array as label_array
from .rows import label_error as label_error
from .rows import one_hot_array as one_hot_array
