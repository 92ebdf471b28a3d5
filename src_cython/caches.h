/* A core's caches: their sizes, and what is fetched into them or goes past them. */
#ifndef FASTSOFTMAX_CACHES_H
#define FASTSOFTMAX_CACHES_H

#include <unistd.h>
#include "vec.h"

#if defined(__SSE2__)
INLINE void fence(void) { _mm_sfence(); } /* streamed stores become visible before whatever follows */
INLINE void prefetch(const void *x) { _mm_prefetch((const char *)x, _MM_HINT_T1); }
INLINE void prefetch_near(const void *x) { _mm_prefetch((const char *)x, _MM_HINT_T0); }
#else
INLINE void fence(void) {}
INLINE void prefetch(const void *x) { __builtin_prefetch(x, 0, 2); }
INLINE void prefetch_near(const void *x) { __builtin_prefetch(x, 0, 3); }
#endif

/* Bytes of L2, where the system tells more than `least`: Python's os.sysconf does not know the name. */
#ifdef _SC_LEVEL2_CACHE_SIZE
INLINE long l2_bytes(long least) { long n = sysconf(_SC_LEVEL2_CACHE_SIZE); return n > least ? n : least; }
#else
INLINE long l2_bytes(long least) { return least; }
#endif

/* AMD's CPUs with 48 KB of L1: their vector units are 512 bits wide */
#if defined(__x86_64__) && defined(_SC_LEVEL1_DCACHE_SIZE)
INLINE int is_zen5(void) { return __builtin_cpu_is("amd") && sysconf(_SC_LEVEL1_DCACHE_SIZE) >= 48 << 10; }
#else
INLINE int is_zen5(void) { return 0; }
#endif

/* Where long rows fetch what they read next: Zen 5 wants it in L1 (from L2 log_softmax of 100,000 float32 takes 1.16 times as long
 * on one thread), Zen 4, which has 32 KB there, does not (softmax takes 1.3 times as long). Set on import. */
static int fetches_near;
INLINE void fetch_bytes(const char *x, size_t n, int near) {
    if (near) for (size_t i = 0; i < n; i += 64) prefetch_near(x + i);
    else for (size_t i = 0; i < n; i += 64) prefetch(x + i);
}

#endif
