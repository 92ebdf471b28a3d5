"""[0] The types of the public face, for your own annotations: `from fastsoftmax.typing import Labels, Reduction`."""

from collections.abc import Hashable, Sequence
from typing import Any, Literal, Protocol, SupportsFloat, SupportsIndex, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

BackendName: TypeAlias = Literal["auto", "cython", "numba", "numpy"]
Reduction: TypeAlias = Literal["none", "mean", "sum"]
Reduced: TypeAlias = Literal["mean", "sum"]  # what leaves one number
Empty: TypeAlias = Literal["nan", "zero"]
Gradient: TypeAlias = Literal["features", "classifier", "bias"]
ComputeDtype: TypeAlias = Literal["bfloat16", "float32"]
Number: TypeAlias = SupportsFloat | SupportsIndex

ScalarT = TypeVar("ScalarT", bound=np.generic)
FloatT = TypeVar("FloatT", bound=np.floating[Any])
LossT = TypeVar("LossT")
ClassT = TypeVar("ClassT", bound=Hashable)

# One result a row: an array, or a scalar where there is one row. The union with Any spares callers a cast.
Rows: TypeAlias = NDArray[ScalarT] | Any


class IntegerArray(Protocol):
    """An array, or what NumPy makes one of, whose dtype is an integer."""

    def __array__(self) -> NDArray[np.integer[Any]]: ...


Labels: TypeAlias = "IntegerArray | int | Sequence[Labels]"


class PairOptions(TypedDict, total=False):
    """What softmax_grad and log_softmax_grad take."""

    axis: SupportsIndex
    out: NDArray[Any] | None


class SoftmaxOptions(PairOptions, total=False):
    """What softmax and log_softmax take."""

    temperature: Number


class SoftOptions(TypedDict, total=False):
    """What soft_cross_entropy takes beside `reduction`."""

    class_weight: ArrayLike | None
    sample_weight: ArrayLike | None
    label_smoothing: Number
    z_loss: Number
    softcap: Number | None
    temperature: Number
    axis: SupportsIndex
    empty: Empty


class Options(SoftOptions, total=False):
    """What cross_entropy takes beside `reduction`."""

    ignore_index: SupportsIndex | None


class _Grad(TypedDict, total=False):
    dlosses: ArrayLike | None
    out: NDArray[Any] | None


class SoftGradOptions(SoftOptions, _Grad, total=False):
    """What soft_cross_entropy_and_grad takes beside `reduction`."""


class GradOptions(Options, _Grad, total=False):
    """What cross_entropy_and_grad takes beside `reduction`."""


class LinearStepOptions(TypedDict, total=False):
    """What linear_cross_entropy_step takes beside `reduction`, `optimizer`, `bias`, `dlosses` and `grad_filter`."""

    class_weight: ArrayLike | None
    sample_weight: ArrayLike | None
    ignore_index: SupportsIndex | None
    label_smoothing: Number
    z_loss: Number
    softcap: Number | None
    temperature: Number
    empty: Empty
    shift: SupportsIndex
    max_workspace_bytes: SupportsIndex
    compute_dtype: ComputeDtype | None


class LinearOptions(LinearStepOptions, total=False):
    """What linear_cross_entropy takes beside `reduction`."""

    bias: ArrayLike | None


class LinearGradOptions(LinearOptions, total=False):
    """What linear_cross_entropy_and_grad takes beside `reduction`."""

    wrt: Sequence[Gradient]
    dlosses: ArrayLike | None
    out: tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None] | None
    accumulate: bool
    grad_dtype: DTypeLike | None
    grad_filter: Number | None
