"""[5] Tensors as NumPy has them and back: the same memory, wherever that holds the numbers."""

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..check.numbers import integer

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
HALVES = (torch.bfloat16, torch.float16)


@functools.cache
def _bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError as missing:
        raise ImportError('bfloat16 tensors need ml_dtypes: pip install "fastsoftmax[torch]"') from missing
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found


def array_of(tensor: Tensor) -> NDArray[Any]:
    """The memory of a tensor as an array; that of a copy where torch has put off negating it, or writing zeros."""
    try:
        return _memory(tensor)
    except RuntimeError:
        return _memory(tensor.clone())


def _memory(tensor: Tensor) -> NDArray[Any]:
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(_bfloat16())
    return tensor.numpy()


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The memory of an array as a tensor."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def scalars_of(values: Any, dtype: torch.dtype) -> Tensor:
    """Losses of the public face, float64, as torch gives them."""
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values).to(dtype)
    return torch.scalar_tensor(values, dtype=dtype)


def checked(tensor: object, name: str, *, floats: bool = True) -> None:
    """Raise unless this is a tensor that the kernels can read."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, not {type(tensor).__name__}")
    if not tensor.is_cpu:
        raise ValueError(f"{name} is on {tensor.device}, but fastsoftmax computes on the CPU: {name}.cpu(), or torch's own")
    if tensor.is_nested:
        raise TypeError(f"{name} is a nested tensor, but must be dense: {name}.to_padded_tensor(...)")
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} has layout {tensor.layout}, but must be dense: {name}.to_dense()")
    if floats and tensor.dtype not in FLOATS:
        raise TypeError(f"{name} has dtype {tensor.dtype}; allowed are " + ", ".join(map(str, FLOATS)))


def wide(tensor: Tensor) -> torch.dtype:
    """The dtype of numbers that are to be compared or subtracted, not trained with: no 16 bits."""
    return torch.float64 if tensor.dtype is torch.float64 else torch.float32


def class_dim(tensor: Tensor, dim: int, name: str = "input") -> int:
    """The class axis, counted from the first."""
    if not tensor.ndim:
        raise ValueError(f"{name} must have a class axis, but is 0-dimensional")
    return axis_of(tensor, dim, name)


def axis_of(tensor: Tensor, dim: int, name: str = "input") -> int:
    """An axis, counted from the first; 0 of a tensor that has none, as in torch."""
    dim, ndim = dim if type(dim) is int else integer(dim, "dim"), tensor.ndim or 1
    if not -ndim <= dim < ndim:
        raise ValueError(f"dim is {dim}, outside [{-ndim}, {ndim}) for {name} of shape {tuple(tensor.shape)}")
    return dim % ndim


def lead_of(tensor: Tensor, dim: int) -> tuple[int, ...]:
    """The shape without the class axis."""
    return (*tensor.shape[:dim], *tensor.shape[dim + 1:])
