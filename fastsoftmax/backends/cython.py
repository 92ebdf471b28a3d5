"""[1] The Cython backend: the best build of the compiled kernels that this CPU can run."""

raise ImportError("the compiled kernels are not built")
