"""[0] The kernels: names, arguments, what they read and write. Every backend implements exactly this.

A backend is a module with

    bind(job)  -> run(row0, row1, block0, block1, phase) -> first bad row, or -1; run.each(slices, n_threads), which may be
                  absent, does as much for many such slices on threads of its own
    write_exps(job, tops)  -> run for the phase WRITE of a cross_entropy_rows job whose rows are known: out[i, k] =
                  grad_scale*scale*dlosses[i]*(1 - (z/cap)^2)*exp(z - z(tops[i])), and 0 where labels[i] is ignore_index
    scan_labels(labels, n_classes, ignore_index, class_weight, sample_weight) -> (bad_row, total_weight)
    LOGITS_PER_THREAD  how many are worth another thread
    SPLITS_CLASSES   whether phases other than ALL are understood; PHASE_LOGITS_PER_THREAD is then how many logits are worth
                     another thread in these, of which each wakes the threads anew
    FORGETS_CLASSES  whether these need no more than the blocks at hand: Job.class0, Job.n_classes
    TILES            whether arrays whose rows lie side by side are
    short_cut(kernel, defaults, arguments, options, get_num_threads) -> the result, None or a bad row; may be absent
    step(Step)  -> run(start, stop) for a part of its first axis; run.each(slices, n_threads) may be absent

Conventions: all arrays of a job are carriers (dtypes.py) with the class axis contiguous and any row stride, or for
backends with TILES (n_outer, n_classes, inner) with row i at [i // inner, :, i % inner]: the rows of an outer one lie
side by side, the other strides are any, and `inner` is the same in all such arrays of a job. A row gives the same bits
wherever it stands and however large the batch is; in place, kept exps (Job.keep_exps) may round otherwise where logits
are huge or results subnormal.
IN arrays are never written; `out` may be `first` itself. Kernels are serial, allocate nothing, raise nothing
and work without the GIL where the backend can.

A row is cut into blocks of BLOCK classes. A block's state is (m, s, t, d): its maximum, sum exp(z - z_m), the sum of
its targets and sum t*(z_m - z). States are folded in float64, in the order of the blocks, whoever computed them,
so results are bitwise the same for any number of threads.

`short_cut` is the whole of a small plain call, without the floors between: it takes a public function's arguments, with
the defaults of its keywords, and gives what the function gives, to the bit (a CrossEntropyGrad as a plain tuple). It is
None, and nothing is written, for all but this: logits, and labels of integers that int64 holds, that are exactly ndarrays,
C-contiguous, aligned, in native byte order, of one leading shape, the class axis last; logits below STREAMED_BYTES; `out`
absent, exactly `logits`, or just such an array in memory of its own; every label right; reduction and ignore_index any
string and int that are allowed; temperature, softcap, label_smoothing and z_loss any float or int that is, exactly of these
types; every other option at its default.
An int is the first row whose label has gone wrong since it was checked.

kernel                  first       second        writes
lse_rows                logits                    lse[i] = logsumexp(z[i])
softmax_rows            logits                    out[i, k] = exp(z - m)/S
log_softmax_rows        logits                    out[i, k] = (z - m) - log1p(rest)
cross_entropy_rows      logits                    losses, lse; out = dlogits or absent
soft_cross_entropy_rows logits      target_probs  losses, lse; out = dlogits or absent
softmax_grad_rows       probs       dprobs        out = p*(dp - sum p*dp)
log_softmax_grad_rows   log_probs   dlog_probs    out = dlp - exp(lp)*sum dlp
entropy_rows            probs                     losses[i] = -sum p*log p
kl_divergence_rows      p           q             losses[i] = sum p*log(p/q)
js_divergence_rows      p           q             losses[i] = (KL(p, (p+q)/2) + KL(q, (p+q)/2))/2
centered_rows           logits      by kind       losses, lse; out[i, k] = g_i*scale*(1 - (z/cap)^2)*p*(f - sum p*f)
                        (of kind "second" more)

What `second` holds is a kind: "probs" q, or "logs", where q = exp(q_scale*second - shifts[i]). soft_cross_entropy_rows
takes either, and with minus_entropy adds sum q*log q to its losses. For centered_rows, whole rows only,
  kind     f         losses[i]/sample_weight[i]           kind     f            losses[i]/sample_weight[i]
  logits   z         -sum p*log p                         logs     z - log q    sum p*(log p - log q)
                                                          probs    likewise
and second holds a direction v: the derivative of cross_entropy_rows along it, and the Hessian times it. With labels, C, t
and T as below, A = C + T + 2*z_loss*L, f = (1 - (z/cap)^2)*v and mu = sum p*f
  losses[i] = sample_weight[i]*scale*(A*mu - C*f[y]), which leaves out -scale*sum_k t[k]*f[k]
  out[i, k] = g_i*scale^2*(1 - (z/cap)^2)*(A*p*(f - mu) + 2*z_loss*mu*p - 2*z/cap^2*v*(A*p - t - C*[k == y]))

With C = (1-e)*w[y], t[k] = w[k]*e/V (labels) or C = 0, t[k] = w[k]*((1-e)*q[k] + e/V) (target_probs), T = sum t:
  losses[i] = sample_weight[i]*(C*(L - z[y]) + sum_k t[k]*(L - z[k]) + z_loss*L^2)
  dlogits[i, k] = g_i*scale*(1 - (z/cap)^2)*((C + T + 2*z_loss*L)*p[k] - t[k] - C*[k == y])
  g_i = grad_scale*dlosses[i]*sample_weight[i]
A row whose label is ignore_index or whose sample_weight is 0 is inert: losses, lse and dlogits exactly 0.
"""

from typing import NamedTuple

import numpy as np

from .dtypes import Dtype

BLOCK = 4096  # classes: 16 KB of float32, so that a block's second reading comes from L1
# Waking a thread of Python's and hearing from it takes 60 us, a logit 0.2 to 0.6 ns: two threads win 5 % from 614,000 on in
# softmax, from 869,000 on with the gradient, from 1,229,000 on in the loss (`python -m fastsoftmax.bench.threshold numba`).
LOGITS_PER_PYTHON_THREAD = 450_000
LOGITS_PER_ROW = 200  # what a row costs beside its logits
# A row of this size stays in the L2 cache (1 MB and more on CPUs with AVX-512) between its passes: 512 x 100,000 float64,
# 800 KB a row, take 18.9 ms in place, and 22.5 ms where these are too many.
KEPT_BYTES = 7 << 17
# Outputs of this size would push everything else out of the caches: they go past them.
STREAMED_BYTES = 1 << 24
SCALES = (1e-15, 1e15)  # least and most of temperature and softcap: they and their quotients are normal float32 numbers
PARTS = 5  # numbers that a block's state is kept in, at most
FINALS = 7  # numbers that a row is written from
ALL, STATES, FINISH, WRITE = range(4)  # phases: a whole row at once, or its three steps

KERNELS = ("lse_rows", "softmax_rows", "log_softmax_rows", "cross_entropy_rows",
           "soft_cross_entropy_rows", "softmax_grad_rows", "log_softmax_grad_rows",
           "entropy_rows", "kl_divergence_rows", "js_divergence_rows", "centered_rows")
KINDS = ("probs", "logs", "second", "logits")

NO_IGNORE = -(2**63)  # an ignore_index that no label can have


class Targets:
    """What takes the place of Job.labels where a row has several: labels ids[i, j] with shares q_j, or -1 for none.

        losses[i] = sum_j C_j*(L - z[id_j]) + ...   C_j = (1-e)*w[id_j]*q_j   C = sum C_j   dlogits[i, id_j] = ... - C_j

    ids     IN   (n_rows, n) int64, none twice in a row           shares  IN  (n_rows, n) float64
    found   (n_rows, n) float64, for the kernels: the logits there, before they are overwritten
    """

    __slots__ = ("ids", "shares", "found")
    ndim = 2

    def __init__(self, ids, shares, found):
        self.ids, self.shares, self.found = ids, shares, found

    def __getitem__(self, rows):
        return Targets(self.ids[rows], self.shares[rows], self.found[rows])


class Job(NamedTuple):
    """Everything one kernel needs for its rows. `None` means absent."""

    kernel: str
    dtype: Dtype
    first: np.ndarray  # IN (n_rows, n_classes), or as TILES has it
    second: np.ndarray | None = None  # IN (n_rows, n_classes)
    out: np.ndarray | None = None  # OUT (n_rows, n_classes), may be first
    labels: np.ndarray | Targets | None = None  # IN (n_rows,) int64
    class_weight: np.ndarray | None = None  # IN (n_classes,) dtype.real
    sample_weight: np.ndarray | None = None  # IN (n_rows,) float64
    dlosses: np.ndarray | None = None  # IN (n_rows,) float64
    losses: np.ndarray | None = None  # OUT (n_rows,) float64
    lse: np.ndarray | None = None  # OUT (n_rows,) float64
    scale: float = 1.0  # 1/temperature
    cap: float = 0.0  # softcap, 0 for none
    smoothing: float = 0.0
    z_loss: float = 0.0
    grad_scale: float = 1.0
    ignore_index: int = NO_IGNORE
    states: np.ndarray | None = None  # (n_rows, n_blocks, PARTS) float64, with phases only
    finals: np.ndarray | None = None  # (n_rows, FINALS) float64, with phases only
    stream: bool = False  # whether out is best written past the caches: large, and not read soon
    group: int = 1  # rows that are computed together where they lie side by side
    class0: int = 0  # which class the arrays begin with, a multiple of BLOCK: with phases they may hold some blocks only
    n_classes: int = 0  # of the whole row, 0 for those in the arrays
    kind: str = "probs"  # of `second`
    minus_entropy: bool = False
    q_scale: float = 1.0
    shifts: np.ndarray | None = None  # IN (n_rows,) float64
    keep_exps: bool = False  # whether a row of out may hold its exps meanwhile: it fits the L2 cache and is not streamed


class Look(NamedTuple):
    """What is asked of rows beside their loss. look(job) -> an object with one of

        each(cuts, n_threads)   rows cuts[t] to cuts[t + 1] are a slice; -> the first row whose label is out of range, or -1
        __call__(row0, row1)    the same for one slice, on the caller's thread: a function that works without the GIL

    Classes have an order: the larger logit first, NaN before all, among equals the smaller id. With m a row's maximum, e =
    exp(z - z_m) and `rest` the sum of e over all classes but one maximum, a row of stats is

        m (a logit), rest, sum e*(z_m - z), lse, log1p(rest) + z_m - z_y, the label's logit, its place in that order, from 1
        on, the first class

    and NaN or 0 where it needs a label and there is none. Rows whose label is ignore_index get zeros, and -1 for classes.
    With `words`, nothing of that is computed but `drawn`: a class by softmax over the first classes, as few as have
    top_p of the mass; words seed the row's random numbers.
    """

    dtype: Dtype
    logits: np.ndarray  # IN (n_rows, n_classes) carrier, class axis contiguous, any row stride
    labels: np.ndarray | None = None  # IN (n_rows,) int64
    stats: np.ndarray | None = None  # OUT (n_rows, STATS) float64
    ids: np.ndarray | None = None  # OUT (n_rows, k) int64, the first k classes, in order
    values: np.ndarray | None = None  # OUT (n_rows, k) float64, their logits
    scale: float = 1.0
    cap: float = 0.0
    ignore_index: int = NO_IGNORE
    words: np.ndarray | None = None  # IN (n_rows,) uint64
    drawn: np.ndarray | None = None  # OUT (n_rows,) int64
    top_p: float = 1.0


STATS = 8


class Layer(NamedTuple):
    """A linear layer under the logits. products(layer, n_threads) -> an object with three methods, for rows i below n_rows
    and classes k from class0 to class1, whose logits are the first columns of their block:

        logits(features, logits, n_rows, class0, class1)
            logits[i, k] = features[i] . classifier[k] + bias[k]
        dfeatures(dlogits, dfeatures, n_rows, class0, class1, first)
            dfeatures[i] += sum over k of dlogits[i, k]*classifier[k]
        dclassifier(dlogits, features, n_rows, dclassifier, dbias, first)
            dclassifier[k] += sum over i of dlogits[i, k]*features[i];  dbias[k] += sum over i of dlogits[i, k];
            either may be None; as many classes as they have, in any dtype of the table and any strides, dbias in dtype.real

        class_norms() -> (n_classes,) dtype.real, the Euclidean norms of the classifier's rows
        filtered(dlogits, n_rows, class0, class1, limits, row_norms, class_norms, most) -> an object with dfeatures and
            dclassifier as above for this block, in which dlogits[i, k] below limits[i] in magnitude may count as 0; they do
            where at most a share of `most` is left of FILTERED classes. It may keep what is left in the block's memory.
            dropped (n_rows, 2) float64: the sums over dropped k of |dlogits[i, k]| and |dlogits[i, k]|*class_norms[k]
            by_class (class1 - class0,): the sum over dropped i of |dlogits[i, k]|*row_norms[i];  n_kept: what is left.
            A block whose dlogits are all left gives the bits of the products themselves, and dbias is theirs in any case

    `first`: written, not added to. Blocks are of dtype.real, aligned to a cache line, and larger than what is in them: rows
    up to whole TILE_ROWS, columns up to whole PANEL_BYTES; of features these are zeros, of the others anything. Sums run in
    an order fixed by the shape.
    """

    dtype: Dtype  # float64 or float32: what is computed in
    classifier: np.ndarray  # IN (n_classes, n_features), any dtype of the table, any strides
    bias: np.ndarray | None  # IN (n_classes,) dtype.real
    pairs: bool = False  # whether factors may be rounded to bfloat16, products still being added up in dtype


class Step(NamedTuple):
    """A step of an optimizer for a part of a parameter, to the bit the same on every backend. In the gradient's dtype
    g = gradient + decay*parameter, and then parameter -=

        sgd       g*lr                                                      numbers  lr
        momentum  v*lr,                   v = v*momentum + g                         lr, momentum
        adagrad   g/(sqrt(s) + eps)*lr,   s = s + g*g                                lr, eps
        adam      m/(sqrt(v)*c + eps)*lr, m = m*b1 + g*(1 - b1)                      lr, eps, b1, 1 - b1, b2, 1 - b2, c
                                          v = v*b2 + g*g*(1 - b2)

    each product, sum, quotient and root rounded by itself. All arrays have one shape.
    """

    rule: str
    numbers: tuple[float, ...]
    decay: float
    parameter: np.ndarray  # IN, OUT, any dtype of the table
    gradient: np.ndarray  # IN, float64 or float32
    state: tuple[np.ndarray, ...]  # IN, OUT, of the gradient's dtype


RULES = ("sgd", "momentum", "adagrad", "adam")

TILE_ROWS = 6  # rows that a product computes together
PANEL_BYTES = 256  # columns, likewise
CLASSES_DEEP = 128  # terms of a sum over classes that are added up at a time
PANELS_WIDE = 4  # panels of these that are copied together
CLASSES_WIDE = 48  # whose gradients are computed at a time
FILTERED = 1024  # classes that are filtered at a time, or not


def n_blocks(n_classes):
    """How many blocks a row of n_classes has."""
    return -(-n_classes // BLOCK)


def no_short_cut(kernel, defaults, arguments, options, get_num_threads):
    """The short cut of a backend that has none."""
    return None
