"""[1] The Numba backend."""

raise ImportError("the Numba kernels are not there yet")
