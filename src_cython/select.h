/* The first few of many candidates: the larger value first, NaN before all, among equals the smaller id. */
#ifndef FASTSOFTMAX_SELECT_H
#define FASTSOFTMAX_SELECT_H

#include <Python.h>
#include <stdint.h>

typedef struct { double value; int64_t id; } fs_candidate;

static inline int comes_before(fs_candidate a, fs_candidate b) {
    int nan_a = a.value != a.value, nan_b = b.value != b.value;
    if (nan_a != nan_b) return nan_a;
    if (!nan_a && a.value != b.value) return a.value > b.value;
    return a.id < b.id;
}

static inline void swap_candidates(fs_candidate *a, fs_candidate *b) {
    fs_candidate t = *a;
    *a = *b, *b = t;
}

/* Hoare's partition around a median of three: where the first part, none of which comes after the second, ends. n > 1. */
static Py_ssize_t partition_candidates(fs_candidate *c, Py_ssize_t n) {
    Py_ssize_t mid = (n - 1) / 2, i = -1, j = n;
    if (comes_before(c[mid], c[0])) swap_candidates(c + mid, c);
    if (comes_before(c[n - 1], c[mid])) {
        swap_candidates(c + n - 1, c + mid);
        if (comes_before(c[mid], c[0])) swap_candidates(c + mid, c);
    }
    fs_candidate pivot = c[mid];
    for (;;) {
        do i++; while (comes_before(c[i], pivot));
        do j--; while (comes_before(pivot, c[j]));
        if (i >= j) return j + 1;
        swap_candidates(c + i, c + j);
    }
}

/* the first k of n candidates to the front, in any order: quickselect (Hoare 1961) */
static void select_candidates(fs_candidate *c, Py_ssize_t n, Py_ssize_t k) {
    while (n > 1 && k > 0 && k < n) {
        Py_ssize_t first = partition_candidates(c, n);
        if (k < first) n = first;
        else c += first, n -= first, k -= first;
    }
}

/* in order: quicksort, the smaller part by recursion, short runs by insertion */
static void sort_candidates(fs_candidate *c, Py_ssize_t n) {
    while (n > 16) {
        Py_ssize_t first = partition_candidates(c, n);
        if (first <= n - first) sort_candidates(c, first), c += first, n -= first;
        else sort_candidates(c + first, n - first), n = first;
    }
    for (Py_ssize_t i = 1; i < n; i++) {
        fs_candidate one = c[i];
        Py_ssize_t j = i;
        for (; j > 0 && comes_before(one, c[j - 1]); j--) c[j] = c[j - 1];
        c[j] = one;
    }
}

/* One more candidate for the first k, which are in order; how many there are then. Few and far between: by insertion. */
static inline Py_ssize_t insert_candidate(fs_candidate *c, Py_ssize_t n, Py_ssize_t k, fs_candidate one) {
    if (n == k && !comes_before(one, c[k - 1])) return n;
    Py_ssize_t j = n == k ? k - 1 : n;
    for (; j > 0 && comes_before(one, c[j - 1]); j--) c[j] = c[j - 1];
    c[j] = one;
    return n < k ? n + 1 : n;
}

/* the last to come of k > 0 candidates */
static fs_candidate last_candidate(const fs_candidate *c, Py_ssize_t k) {
    fs_candidate last = c[0];
    for (Py_ssize_t i = 1; i < k; i++) if (comes_before(last, c[i])) last = c[i];
    return last;
}

#endif
