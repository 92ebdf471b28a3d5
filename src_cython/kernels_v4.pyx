# cython: freethreading_compatible=True, cdivision=True
# The kernels for x86-64 level "v4" (or, as baseline, for any machine).
include "kernels.pxi"
include "labels.pxi"
include "short.pxi"
include "c_api.pxi"
include "ceilings.pxi"
