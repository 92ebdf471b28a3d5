# cython: freethreading_compatible=True
"""Which builds of the kernels this CPU, and its operating system, can run."""

cdef extern from *:
    """
    static int fs_level(void) {
    #if defined(__x86_64__) && defined(__GNUC__)
        __builtin_cpu_init();
        if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")
              && __builtin_cpu_supports("f16c")))
            return 1;
        if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
              && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
              && __builtin_cpu_supports("avx512vl")))
            return 3;
        return 4;
    #else
        return 1;
    #endif
    }
    """
    int fs_level() noexcept nogil


def level():
    """4 for x86-64-v4, 3 for x86-64-v3, 1 for anything less and every other architecture."""
    return fs_level()
