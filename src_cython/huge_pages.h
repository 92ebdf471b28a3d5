/* XLA takes the memory of results as it comes, 4 KB pages, and gives it back after each use; where the system lets those who
 * ask have pages of 2 MB, as NumPy does for its arrays, writing to new memory takes a fraction of the time. */
#ifndef FASTSOFTMAX_HUGE_PAGES_H
#define FASTSOFTMAX_HUGE_PAGES_H

#include <stddef.h>
#include <stdint.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define LARGE_BYTES ((size_t)4 << 20)  /* as NumPy has it */

static inline void ask_for_huge_pages(void *data, size_t n_bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    uintptr_t page = 1 << 16, start = ((uintptr_t)data + page - 1) / page * page, end = ((uintptr_t)data + n_bytes) / page * page;
    if (n_bytes >= LARGE_BYTES) (void)madvise((void *)start, end - start, MADV_HUGEPAGE);
#else
    (void)data, (void)n_bytes;
#endif
}

#endif
