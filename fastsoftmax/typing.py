"""[0] The types of the public face, for your own annotations: `from fastsoftmax.typing import Labels, Reduction`."""

from collections.abc import Hashable, Iterator, Sequence
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

# One result a row: an array, or a scalar where there is one row, or None where it was not asked for. The union with Any
# spares callers a cast.
Rows: TypeAlias = NDArray[ScalarT] | Any


class ForeignArray(Protocol):
    """An array of another library, of its standard's members: torch.Tensor, jax.Array.

    NumPy's arrays have them all, but `dtype` by position only: that is how a type checker tells them apart.
    """

    @property
    def device(self) -> Any: ...
    @property
    def mT(self) -> Any: ...
    def __array__(self, *, dtype: Any = None) -> Any: ...
    def __dlpack__(self) -> Any: ...


ForeignT = TypeVar("ForeignT", bound=ForeignArray)
ForeignT_co = TypeVar("ForeignT_co", bound=ForeignArray, covariant=True)
Written: TypeAlias = NDArray[Any] | ForeignArray


class _ForeignFields(Protocol[ForeignT_co]):
    """A named tuple with arrays of another library; the loss too is one, 0-dimensional where there is one number."""

    @property
    def loss(self) -> ForeignT_co: ...
    @property
    def lse(self) -> ForeignT_co: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __getitem__(self, i: int, /) -> Any: ...


class ForeignGrad(_ForeignFields[ForeignT_co], Protocol):
    """CrossEntropyGrad with arrays of another library."""

    @property
    def dlogits(self) -> ForeignT_co: ...


class ForeignGradBound(Protocol[ForeignT_co]):
    """GradBound with an array of another library."""

    @property
    def dfeatures(self) -> float | None: ...
    @property
    def dclassifier(self) -> float | None: ...
    @property
    def dropped(self) -> ForeignT_co: ...
    @property
    def kept(self) -> float: ...


class ForeignLinearGrad(_ForeignFields[ForeignT_co], Protocol):
    """LinearCrossEntropyGrad with arrays of another library."""

    @property
    def dfeatures(self) -> ForeignT_co | Any: ...
    @property
    def dclassifier(self) -> ForeignT_co | Any: ...
    @property
    def dbias(self) -> ForeignT_co | Any: ...
    @property
    def bound(self) -> ForeignGradBound[ForeignT_co] | None: ...


class ForeignLinearStep(_ForeignFields[ForeignT_co], Protocol):
    """LinearCrossEntropyStep with arrays of another library."""

    @property
    def dfeatures(self) -> ForeignT_co: ...
    @property
    def bound(self) -> ForeignGradBound[ForeignT_co] | None: ...


class ForeignTopK(Protocol[ForeignT_co]):
    """TopK with arrays of another library."""

    @property
    def log_probs(self) -> ForeignT_co: ...
    @property
    def ids(self) -> ForeignT_co: ...
    def __iter__(self) -> Iterator[ForeignT_co]: ...
    def __getitem__(self, i: int, /) -> ForeignT_co: ...


class ForeignScores(Protocol[ForeignT_co]):
    """Scores with arrays of another library."""

    @property
    def losses(self) -> ForeignT_co: ...
    @property
    def lse(self) -> ForeignT_co: ...
    @property
    def log_probs(self) -> ForeignT_co: ...
    @property
    def ranks(self) -> ForeignT_co: ...
    @property
    def argmax(self) -> ForeignT_co: ...
    @property
    def entropy(self) -> ForeignT_co: ...
    @property
    def confidence(self) -> ForeignT_co: ...
    @property
    def top_ids(self) -> ForeignT_co | Any: ...
    @property
    def top_log_probs(self) -> ForeignT_co | Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __getitem__(self, i: int, /) -> Any: ...


class IntegerArray(Protocol):
    """An array, or what NumPy makes one of, whose dtype is an integer."""

    def __array__(self) -> NDArray[np.integer[Any]]: ...


Labels: TypeAlias = "IntegerArray | int | Sequence[Labels]"


class _Axis(TypedDict, total=False):
    axis: SupportsIndex


class _Temperature(TypedDict, total=False):
    temperature: Number


class _Softcap(_Temperature, total=False):
    softcap: Number | None


class _Rows(TypedDict, total=False):
    sample_weight: ArrayLike | None
    empty: Empty


class _Classes(TypedDict, total=False):
    class_weight: ArrayLike | None
    label_smoothing: Number


class _Ignored(TypedDict, total=False):
    ignore_index: SupportsIndex | None


class _Grad(TypedDict, total=False):
    dlosses: ArrayLike | None
    out: NDArray[Any] | None


class PairOptions(_Axis, total=False):
    """What softmax_grad and log_softmax_grad take."""

    out: NDArray[Any] | None


class SoftmaxOptions(PairOptions, _Temperature, total=False):
    """What softmax and log_softmax take."""


class LookOptions(_Softcap, _Axis, total=False):
    """What topk and target_log_prob take beside `out`."""


class ScoreOptions(LookOptions, _Ignored, total=False):
    """What score takes beside `out`."""

    top_k: SupportsIndex


class SampleOptions(LookOptions, total=False):
    """What sample takes beside `out`."""

    top_k: SupportsIndex
    top_p: Number


class EntropyOptions(_Rows, _Softcap, _Axis, total=False):
    """What entropy_with_logits takes beside `reduction`."""


class DivergenceOptions(EntropyOptions, total=False):
    """What kl_divergence_with_logits takes beside `reduction`."""

    log_target: bool
    target_logits: bool
    reverse: bool


class SoftOptions(EntropyOptions, _Classes, total=False):
    """What soft_cross_entropy takes beside `reduction`."""

    z_loss: Number


class Options(SoftOptions, _Ignored, total=False):
    """What cross_entropy, cross_entropy_jvp and sparse_cross_entropy take beside `reduction`."""


class EntropyGradOptions(EntropyOptions, _Grad, total=False):
    """What entropy_with_logits_and_grad takes beside `reduction`."""


class DivergenceGradOptions(DivergenceOptions, _Grad, total=False):
    """What kl_divergence_with_logits_and_grad takes beside `reduction`."""


class SoftGradOptions(SoftOptions, _Grad, total=False):
    """What soft_cross_entropy_and_grad takes beside `reduction`."""


class GradOptions(Options, _Grad, total=False):
    """What cross_entropy_and_grad, cross_entropy_hvp and sparse_cross_entropy_and_grad take beside `reduction`."""


class LinearStepOptions(_Rows, _Classes, _Ignored, _Softcap, total=False):
    """What linear_cross_entropy_step takes beside `reduction`, `optimizer`, `bias`, `dlosses`, `wrt` and `grad_filter`."""

    z_loss: Number
    shift: SupportsIndex
    max_workspace_bytes: SupportsIndex
    compute_dtype: ComputeDtype | None


class LinearOptions(LinearStepOptions, total=False):
    """What linear_cross_entropy takes beside `reduction`."""

    bias: ArrayLike | None


class LinearWantedOptions(LinearOptions, total=False):
    """What linear_cross_entropy_and_grad takes beside `reduction` and `out`."""

    wrt: Sequence[Gradient]
    dlosses: ArrayLike | None
    accumulate: bool
    grad_dtype: DTypeLike | None
    grad_filter: Number | None


class LinearGradOptions(LinearWantedOptions, total=False):
    """What linear_cross_entropy_and_grad takes beside `reduction`."""

    out: tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None] | None


class LinearLookOptions(_Softcap, total=False):
    """What linear_topk and linear_target_log_prob take beside `out`."""

    bias: ArrayLike | None
    max_workspace_bytes: SupportsIndex


class LinearScoreOptions(LinearLookOptions, _Ignored, total=False):
    """What linear_score takes beside `out`."""

    top_k: SupportsIndex
    shift: SupportsIndex


class LinearSampleOptions(LinearLookOptions, total=False):
    """What linear_sample takes beside `out`."""

    top_k: SupportsIndex
    top_p: Number
