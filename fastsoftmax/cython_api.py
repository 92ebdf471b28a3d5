"""[5] Imported where the compiled module of this name (src_cython/cython_api.pyx) is missing: Python prefers that one."""

_C_API: object

raise ImportError("fastsoftmax.cython_api needs the compiled kernels, which are not built: install a C compiler (gcc) and "
                  "reinstall fastsoftmax")
