# The table of block primitives, lanes.h, as Cython sees it.

cdef extern from "caches.h":
    bint fetches_near
    bint is_zen5() noexcept nogil
    long l2_bytes(long) noexcept nogil
    void fence() noexcept nogil


cdef extern from "lanes.h":
    ctypedef struct Map "fs_map":
        double m, z_m, scale, scale_log2e, cap, scale_over_cap
    ctypedef struct Block "fs_block":
        const void *x
        const void *q
        const void *w
        void *out
        Py_ssize_t n
        int stream
        double keep, smooth, top, most
        const void *e
        int raised
        const void *ahead
        double mean
        int kind
        double q_scale, q_shift
    ctypedef struct Late "fs_late":
        void (*write)(const Block *, const Map *, double) noexcept nogil
        Block block
        Map map
        double a
        Py_ssize_t piece
    ctypedef struct Sums "fs_sums":
        double max, sum, alone, above
        int raised
    ctypedef struct Next "fs_next":
        const void *x
        Py_ssize_t n
        const void *ahead
        int quarters
        const void *seen
    ctypedef struct Exps "fs_room":
        double exps[1]
    ctypedef struct Abreast "fs_abreast":
        char e[1]
    ctypedef struct Candidate "fs_candidate":
        double value
        int64_t id
    ctypedef struct Find "fs_find":
        double threshold
        Py_ssize_t base, n, k
        Candidate *found
    ctypedef struct Seen "fs_seen":
        double m, s, d
        Py_ssize_t above
        uint32_t runs
    ctypedef struct StepJob "fs_step":
        void *x
        const void *g
        void *state[2]
        int rule
        double numbers[7]
        double decay
    ctypedef struct Lanes "fs_lanes":
        Py_ssize_t itemsize, weight_itemsize
        double (*get)(const void *, Py_ssize_t) noexcept nogil
        void (*put)(void *, Py_ssize_t, double) noexcept nogil
        double (*block_max)(const void *, Py_ssize_t) noexcept nogil
        int (*any_nan)(const void *, Py_ssize_t) noexcept nogil
        double (*exp_sum)(const void *, Py_ssize_t, const Map *) noexcept nogil
        double (*sum_without_max)(const void *, Py_ssize_t, const Map *) noexcept nogil
        int (*max_exp_sum)(const void *, void *, Py_ssize_t, double, const Late *, Sums *) noexcept nogil
        void (*target_sums)(const Block *, const Map *, int, double *, double *) noexcept nogil
        double (*short_rest)(const void *, Py_ssize_t, double, double, const void *, void *) noexcept nogil
        void (*short_write)(const void *, Py_ssize_t, double, void *) noexcept nogil
        void (*write_probs)(const Block *, const Map *, double) noexcept nogil
        void (*write_log_probs)(const Block *, const Map *, double) noexcept nogil
        double (*grad_sum)(const void *, const void *, Py_ssize_t, int) noexcept nogil
        void (*write_softmax_grad)(const Block *, double, int) noexcept nogil
        double (*divergence)(const void *, const void *, Py_ssize_t, int) noexcept nogil
        Py_ssize_t abreast, most_abreast
        void (*load_abreast)(Abreast *, const void *, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*rests_abreast)(Abreast *, Py_ssize_t, double, const void *, double *, double *, double *) noexcept nogil
        void (*write_abreast)(Abreast *, Py_ssize_t, const double *, void *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*write_logs_abreast)(Abreast *, Py_ssize_t, double, const double *, const double *, void *, Py_ssize_t,
                                   Py_ssize_t) noexcept nogil
        void (*rest_alone)(Abreast *, const void *, Py_ssize_t, double, double *, double *, double *) noexcept nogil
        double (*relative)(double, double, double) noexcept nogil
        void (*exps)(const void *, void *, Py_ssize_t, double, Next *, const Late *, Sums *) noexcept nogil
        double (*sum_of_others)(void *, Py_ssize_t) noexcept nogil
        void (*write_exps)(const Block *, const Map *, double) noexcept nogil
        int (*look)(const void *, Py_ssize_t, const Map *, double, int, double, Seen *) noexcept nogil
        void (*search)(const void *, Py_ssize_t, uint32_t, Find *) noexcept nogil
        double (*below)(double) noexcept nogil
        Py_ssize_t (*find)(const void *, Py_ssize_t, double) noexcept nogil
        Py_ssize_t (*count_above)(const void *, Py_ssize_t, double) noexcept nogil
        double (*mass_above)(const void *, Py_ssize_t, const Map *, double) noexcept nogil
        void (*group_tops)(const void *, Py_ssize_t, double *) noexcept nogil
        Py_ssize_t (*pick)(const void *, Py_ssize_t, const Map *, double, double, double, Py_ssize_t) noexcept nogil
        int (*centered_sums)(const Block *, const Map *, const Late *, Seen *) noexcept nogil
        void (*write_centered)(const Block *, const Map *, double) noexcept nogil
        void (*step)(const StepJob *, Py_ssize_t, Py_ssize_t) noexcept nogil
    double exp_one(double) noexcept nogil
    void exp_each(const double *, double *, Py_ssize_t) noexcept nogil
    void log1p_each(const double *, double *, Py_ssize_t) noexcept nogil
    double log1p_one(double) noexcept nogil
    enum: BLOCK "BLOCK_SIZE"
    enum: VEC_BYTES, NOT_KEPT
    double PEAKED, UNKNOWN
    enum: TOP_GROUPS, FEW, OF_PROBS, OF_LOGS, OF_SECOND, OF_LOGITS
    const Lanes *fs_table[4]
