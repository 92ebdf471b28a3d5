"""[3] The memory of arrays that are not NumPy's, or why there is none for us."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

ON_THE_CPU = (1, 3, 11)  # of DLPack's DLDeviceType: kDLCPU, and what kDLCUDAHost and kDLROCMHost have pinned there
REFUSALS = (TypeError, ValueError, RuntimeError, BufferError)  # of libraries that do not give their memory away


def memory(value: Any, name: str) -> NDArray[Any]:
    """Anything array-like as an ndarray: a view of its memory, where it has memory of such elements.

    The buffer protocol and `__array__` come first, because libraries refuse there what they let pass by DLPack: tensors of
    PyTorch's whose negation is pending, or whose memory holds nothing. DLPack is for what would be copied otherwise.
    """
    try:
        _is_on_the_cpu(value)
        a = _bfloat16(value, name) if _is_bfloat16(value) else np.asarray(value)
        return _by_dlpack(value, a) if a.flags.owndata and hasattr(value, "__dlpack__") else a
    except REFUSALS as error:
        raise _refusal(value, name, error) from None


def is_no_copy(value: Any, name: str, a: NDArray[Any]) -> None:
    """Raise where the memory of what is to be written to has turned out to be a copy: then each look gives another one."""
    if a.size and not np.may_share_memory(a, memory(value, name)):
        raise TypeError(f"{name} cannot be written to: a {type(value).__name__} gives a copy of its memory")


def _is_on_the_cpu(value: Any) -> None:
    """Raise where DLPack has it elsewhere: JAX's `__array__` would fetch it. (PyTorch takes 4 us to say it by DLPack.)"""
    if hasattr(value, "__dlpack_device__") and "cpu" not in str(getattr(value, "device", "")).lower():
        kind = int(value.__dlpack_device__()[0])
        if kind not in ON_THE_CPU:
            raise BufferError(f"its memory is that of a device, type {kind} of DLPack's")


def _is_bfloat16(value: Any) -> bool:
    """Whether this is a tensor of the dtype that PyTorch does not give to NumPy; others do."""
    return str(getattr(value, "dtype", "")) == "torch.bfloat16" and not value.requires_grad


def _bfloat16(tensor: Any, name: str) -> NDArray[Any]:
    """A tensor of bfloat16 by way of integers of its width."""
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        raise ImportError(f"{name} is bfloat16, which NumPy knows by ml_dtypes: pip install ml_dtypes") from None
    return np.asarray(tensor.view(sys.modules["torch"].int16)).view(bfloat16)


def _by_dlpack(value: Any, copy: NDArray[Any]) -> NDArray[Any]:
    """The memory itself, or the copy where it is none or there is none of that kind (Arrow's arrays with nulls)."""
    try:
        a = np.from_dlpack(value)
        return copy if np.may_share_memory(a, copy) else a
    except REFUSALS:
        if copy.dtype.kind == "O":  # which holds the object itself
            raise
        return copy


def _refusal(value: Any, name: str, error: Exception) -> Exception:
    """The exception that says which argument cannot be read, why, and what to do about it."""
    if "Tracer" in type(value).__name__:
        return TypeError(f"{name} is traced by JAX and holds no numbers: use fastsoftmax.jax within its transformations")
    if getattr(value, "requires_grad", False) is True:
        return TypeError(f"{name} requires grad, which would be lost here: use fastsoftmax.torch, or {name}.detach()")
    device = getattr(value, "device", "cpu")
    if "cpu" not in str(device).lower():
        return TypeError(f"{name} is on device {device}, but must be in the CPU's memory: move it there first")
    kind = ValueError if isinstance(error, ValueError) else TypeError
    return kind(f"{name} cannot be read as an array: {str(error).partition(chr(10))[0]}")
