"""The laws of checks.py, for every operation, dtype and backend."""

import checks
import numpy as np
import oracle
import pytest
from operations import DTYPES, OPERATIONS, dtype_of, inputs_of, make

import fastsoftmax as fs
from fastsoftmax import contract, dtypes

operation_names = pytest.mark.parametrize("name", OPERATIONS)
dtype_names = pytest.mark.parametrize("dtype", DTYPES)


@dtype_names
@operation_names
def test_inputs_are_untouched(backend, name, dtype):
    checks.check_untouched(OPERATIONS[name], inputs_of(name, (5, 97), dtype))


@dtype_names
@operation_names
def test_in_place_gives_the_same_bits(backend, name, dtype):
    operation, sizes = OPERATIONS[name], (7, 97, contract.BLOCK, contract.BLOCK + 1, 10_000)
    if operation.takes_out:
        for n_classes in sizes:
            inputs = inputs_of(name, (3, n_classes), dtype)
            checks.check_in_place(operation, inputs)
            same = [a.copy() for a in inputs]
            checks.check_results(operation(*same, out=same[0]), operation.right(*inputs), dtype)


@dtype_names
@operation_names
def test_threads_change_no_bit(backend, name, dtype):
    """Rows split among threads; classes split; many rows of many classes."""
    for shape in [(64, 20_000), (1, 1_100_000)] if dtype == "float32" else [(3, 400_001)]:
        checks.check_threads(OPERATIONS[name], inputs_of(name, shape, dtype))


@operation_names
def test_threads_and_batches_change_no_bit_in_place(backend, name):
    if OPERATIONS[name].takes_out:
        call = checks.over_first(OPERATIONS[name])
        for shape in [(64, 20_000), (1, 1_100_001)]:
            checks.check_threads(call, inputs_of(name, shape, "float32"))
        checks.check_batch(call, inputs_of(name, (40, 20_000), "float32"), rows=(0, 39))
        checks.check_batch(call, inputs_of(name, (15, 1_100_001), "float32"), rows=(3,))


@dtype_names
@operation_names
def test_a_row_is_the_same_in_any_batch(backend, name, dtype):
    checks.check_batch(OPERATIONS[name], inputs_of(name, (40, 503), dtype), rows=(0, 17, 39))


@operation_names
def test_a_row_is_the_same_in_a_batch_too_large_for_the_caches(backend, name):
    """Outputs of 18 MB are streamed, smaller ones hold the exps of their rows meanwhile."""
    for offset in (0, 1e5):  # and far from 0 exps are taken relative to a maximum
        inputs = inputs_of(name, (450, 10_000), "float32")
        checks.check_batch(OPERATIONS[name], (inputs[0] + np.float32(offset), *inputs[1:]), rows=(0, 17, 449))


@dtype_names
def test_rows_of_which_one_class_is_nearly_certain(backend, dtype):
    """What is left of a row to the last digits, wherever its maximum lies: at the seams of vectors and blocks, in the end
    of the last one, more or less far above all others. In place, written, and of the loss alone the bits are the same."""
    rng = np.random.default_rng(5)
    for n_classes in (contract.BLOCK + 1, 5000, 8231, 12_313):
        at = np.array([0, 1, 15, 16, 31, 127, 128, contract.BLOCK - 1, contract.BLOCK, n_classes - 2, n_classes - 1,
                       *rng.integers(0, n_classes, 29)])
        rows = np.arange(len(at))
        x = rng.normal(size=(len(at), n_classes))
        x[rows, at] = np.where(rows % 4 == 3, rng.uniform(30, 60, len(at)), rng.uniform(9, 30, len(at)))
        x[5::9, : n_classes // 2] = -np.inf
        x[rows, at] = np.maximum(x[rows, at], 9)
        x = x.astype(dtype_of(dtype))
        others = x.astype(np.longdouble)
        others[rows, at] = -np.inf
        right = np.log1p(np.exp(others - x[rows, at].astype(np.longdouble)[:, None]).sum(axis=1))
        alone = fs.cross_entropy(x, at, reduction="none")
        checks.check_close(alone, right, right * (1 + np.abs(x[rows, at].astype(float))), dtype)
        checks.check_batch(OPERATIONS["cross_entropy_and_grad"], (x, at), rows=(0, 5, 9))
        written, *_ = fs.cross_entropy_and_grad(x, at, reduction="none")
        kept = x.copy()
        in_place, *_ = fs.cross_entropy_and_grad(kept, at, reduction="none", out=kept)
        checks.check_same_bits((written, in_place), (alone, alone))


@dtype_names
def test_rows_in_place_beside_ignored_ones(backend, dtype):
    """A row's first maximum may be known from when the row before was read: not where that one is ignored, and wherever in
    its cache lines a row lies."""
    operation = OPERATIONS["cross_entropy_and_grad"]
    for n_classes in (contract.BLOCK + 1, contract.BLOCK + 15, 9000):
        x, labels = inputs_of("cross_entropy_and_grad", (9, n_classes), dtype)
        x[range(9), [0, 1, 2, 3, 17, 18, 30, 31, n_classes - 1]] += np.asarray(9, x.dtype)
        labels[[2, 3, 6, 8]] = -100
        used = labels >= 0
        written, right = operation(x, labels), operation.right(x[used], labels[used])
        for offset in (0, 1, 5):
            z = np.empty(offset + x.size, x.dtype)[offset:].reshape(x.shape)
            z[:] = x
            kept = operation(z, labels, out=z)
            checks.check_results([a[used] for a in kept], right, dtype)
            checks.check_same_bits(kept, written)


@dtype_names
@pytest.mark.parametrize("first", [-np.inf, -300])
def test_blocks_that_begin_far_below_their_maximum(backend, dtype, first):
    """What is guessed from a block's first logits may be of no use: in place, fresh, in any batch the bits are the same."""
    for name in ("softmax", "cross_entropy_and_grad"):
        x, *labels = inputs_of(name, (900 if dtype == "bfloat16" else 450, 10_000), dtype)
        for k in range(0, 10_000, contract.BLOCK):
            x[::2, k:k + 40] = first
        checks.check_in_place(OPERATIONS[name], (x[:5], *(y[:5] for y in labels)))
        checks.check_batch(OPERATIONS[name], (x, *labels), rows=(0, 3, 448))


@dtype_names
@pytest.mark.parametrize("name", ["softmax", "cross_entropy_and_grad", "soft_cross_entropy_and_grad"])
def test_masked_blocks_beside_any_logits(backend, name, dtype):
    """A block of -inf alone has probabilities of 0, however large or small the others are: fresh, in place, streamed."""
    operation, n_rows = OPERATIONS[name], 5
    close = {"float64": 1e-13, "float32": 1e-5}.get(dtype, 1e-2)
    for offset in (0, -100, -3000, 3000, -50_000, 1e5, -1e36):
        if dtype == "float16" and abs(offset) > 6e4 or dtype == "bfloat16" and abs(offset) > 1e5:
            continue
        x, *others = inputs_of(name, (n_rows, 10_000), dtype)
        x[1:4] += np.asarray(offset, x.dtype)
        for i, b in ((1, 0), (2, 1), (3, 2), (4, 0)):
            x[i, b * contract.BLOCK:(b + 1) * contract.BLOCK] = -np.inf
        if name == "cross_entropy_and_grad":
            others[0][:] = [5, 9999, 0, 0, 9000]
        elif name == "soft_cross_entropy_and_grad":
            others[0][x == -np.inf] = 0
        with np.errstate(invalid="ignore"):  # 0*inf, where budgets grow with the distance from the maximum
            right = [value for value, _ in operation.right(x, *others)]
        z, large = x.copy(), tuple(np.concatenate([a] * 200) for a in (x, *others))
        for results in (operation(x, *others), operation(z, *others, out=z), operation(*large)):
            for result, value in zip(results, right, strict=True):
                result, value = result[:n_rows].astype(float), value.astype(float)
                np.testing.assert_allclose(result, value, rtol=close, atol=close / 1000)
        if abs(offset) < 45_000:
            checks.check_in_place(operation, (x, *others))


@operation_names
def test_a_long_row_is_the_same_in_any_batch(backend, name):
    """Alone its classes are split among the threads; in a batch, of 18 MB, they are not."""
    checks.check_batch(OPERATIONS[name], inputs_of(name, (15, 1_100_001), "float32"), rows=(3,))


@dtype_names
@operation_names
def test_backends_agree(every_backend, name, dtype):
    """Each within the budget of dtypes.py of the first: twice that of one backend, and a step where it is stored."""
    inputs = inputs_of(name, (5, 1025), dtype)
    row = dtypes.BY_NAME[dtype]
    results = []
    for backend in every_backend:
        with fs.use_backend(backend):
            results.append(OPERATIONS[name](*inputs))
    right = OPERATIONS[name].right(*inputs)
    for other in results[1:]:
        for a, b, (value, size) in zip(results[0], other, right, strict=True):
            a, b = a.astype(np.longdouble), b.astype(np.longdouble)
            unit = 2.0**-53 if row.itemsize == 8 else 2.0**-24
            stored = row.eps if row.itemsize == 2 else 0
            bound = 2 * (row.ulp_budget + 4) * unit * size + 2 * stored * np.abs(value) + checks.TINY[dtype]
            assert np.max(np.abs(a - b) / bound) <= 1


@dtype_names
def test_gradient_rows_sum_to_zero(backend, dtype):
    for n_classes in (2, 97, 4097):
        x, labels = oracle.problem(6, n_classes, make("logits", (1, 1), dtype).dtype)
        dlogits = fs.cross_entropy_and_grad(x, labels, reduction="none").dlogits.astype(np.float64)
        stored = dtypes.BY_NAME[dtype].eps * np.abs(dlogits).sum(axis=-1).max()  # each element is rounded to 16 bits
        checks.check_rows_sum_to_zero(dlogits, 1e-6 + (stored if dtypes.BY_NAME[dtype].itemsize == 2 else 0))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_classes", [1, 2, 97, 5000])
def test_an_offset_changes_nothing(backend, dtype, n_classes):
    x, labels = oracle.problem(4, n_classes, dtype, spread=8, ignored=False)
    for shift in (1, -1000, 2.0**20):
        checks.check_shift(np.round(x), labels, shift)


@dtype_names
def test_split_vocabulary(backend, dtype):
    x, = inputs_of("logsumexp", (4, 5000), dtype)
    for at in (1, 2499, 4096, 4999):
        checks.check_split_vocabulary(x, at)


@dtype_names
def test_the_order_of_classes_does_not_matter(backend, dtype):
    x, labels = inputs_of("cross_entropy", (4, 513), dtype)
    checks.check_permutation(x, labels, np.random.default_rng(0).permutation(513), dtype)


@dtype_names
@pytest.mark.parametrize("n_classes", [3, 65, 4097])
@pytest.mark.parametrize("inert", ["ignored", "of weight 0"])
def test_rows_that_do_not_count_are_zero_whatever_they_hold(backend, dtype, n_classes, inert):
    x, labels = inputs_of("cross_entropy", (6, n_classes), dtype)
    weight, of_those_that_count = np.array([0, 1, 0, 2, 0, 0.0]), [1, 2]
    if inert == "ignored":
        weight, of_those_that_count = None, None
        labels[[0, 2, 4, 5]] = -100
    x[0], x[2, 1], x[4], x[5, 0] = np.nan, np.inf, -np.inf, np.nan
    upstream = np.array([np.nan, 1, np.inf, 1, 1, np.nan])
    for reduction in fs.check.REDUCTIONS:
        options = dict(label_smoothing=0.1, z_loss=0.1, softcap=9.0, reduction=reduction)
        loss, dlogits, lse = fs.cross_entropy_and_grad(x, labels, sample_weight=weight, dlosses=upstream, **options)
        alone = fs.cross_entropy_and_grad(x[[1, 3]], labels[[1, 3]], sample_weight=of_those_that_count, **options)
        for row in (0, 2, 4, 5):
            assert lse[row] == 0 and not dlogits[row].astype(np.float64).any()
        checks.check_same_bits([dlogits[[1, 3]], np.sum(loss)], [alone.dlogits, np.sum(alone.loss)])


def test_every_kernel_has_an_operation():
    assert {o.kernel for o in OPERATIONS.values()} == set(contract.KERNELS)
