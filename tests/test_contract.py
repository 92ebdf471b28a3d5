"""Each backend's kernels called as contract.py says, below every check: phases, bad labels, rows that are not theirs."""

import checks
import numpy as np
import oracle
import pytest
from layouts import in_line
from operations import DTYPES, dtype_of

from fastsoftmax import backends, contract, dtypes

OPTIONS = [{}, {"smoothing": 0.1, "z_loss": 0.1, "scale": 1.5}, {"cap": 4.0, "grad_scale": 0.5}, {"stream": True}]


def bound(backend, name, x, q, labels, options):
    """(run, [out, losses, lse]) of a job with everything it may write to."""
    row, n_rows, view = dtypes.find(x.dtype), len(x), dtypes.carrier_view
    outputs = [np.full_like(x, 3), np.full(n_rows, 5.0), np.full(n_rows, 5.0)]
    out, losses, lse = outputs
    q = None if q is None else view(q, row)
    job = contract.Job(name, row, view(x, row), q, view(out, row), labels, losses=losses, lse=lse, **options)
    return backends.load(backend).bind(job), outputs


def in_phases(run, n_rows, blocks):
    """A few blocks at a time, the last first: what is cut may be computed in any order."""
    cuts = [(i, i + 1, b, min(b + 3, blocks)) for i in range(n_rows) for b in range(0, blocks, 3)]
    for cut in cuts[::-1]:
        run(*cut, contract.STATES)
    run(0, n_rows, 0, blocks, contract.FINISH)
    for cut in cuts[::-1]:
        run(*cut, contract.WRITE)
    run(0, n_rows, 0, blocks, contract.WRITE + 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", contract.KERNELS)
@pytest.mark.parametrize("backend", [b for b in backends.available() if backends.load(b).SPLITS_CLASSES])
def test_cut_rows_give_the_same_bits(backend, name, dtype):
    x, labels = oracle.problem(4, 30_001, dtype_of(dtype), spread=5)
    x[1, :9000], x[2, 20_000] = -np.inf, np.nan
    q = np.abs(oracle.problem(4, 30_001, dtype_of(dtype), seed=1)[0])
    x = x if name in contract.KERNELS[:5] else np.abs(x)
    labels = labels if name == "cross_entropy_rows" else None
    blocks = contract.n_blocks(30_001)
    for options in OPTIONS:
        options = {"ignore_index": -100, **options}
        run, whole = bound(backend, name, x, q, labels, options)
        assert run(0, 4, 0, blocks, contract.ALL) == -1
        room = dict(states=np.full((4, blocks, contract.PARTS), np.nan), finals=np.full((4, contract.FINALS), np.nan))
        run, cut = bound(backend, name, x, q, labels, options | room)
        in_phases(run, 4, blocks)
        checks.check_same_bits(cut, whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label", [10, -1, 2**32 + 3, 2**62, -2**63])
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_label_ends_the_run_with_its_row(backend, dtype, label, stream):
    """It and the rows after it are not touched; the check before the kernels finds the same row."""
    x, labels = oracle.problem(6, 10, dtype_of(dtype), ignored=False)
    scan = backends.load(backend).scan_labels
    assert scan(labels, 10, -100, None, None) == (-1, 6.0)
    labels[4] = label
    assert scan(labels, 10, -100, None, None)[0] == scan(labels, 10, -100, None, np.zeros(6))[0] == 4
    options = {"ignore_index": -100, "stream": stream}
    run, [out, losses, lse] = bound(backend, "cross_entropy_rows", x, None, labels, options)
    assert run(0, 6, 0, 1, contract.ALL) == 4
    assert (out[4:] == 3).all() and (losses[4:] == 5).all() and (lse[4:] == 5).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_streamed_rows_of_one_block(backend, dtype):
    """Whole cache lines are streamed, whatever rows begin and end in them: as without, to the bit, and nothing beside."""
    for n_classes in (1, 7, 16, 33, 100, 101, 500, 1024, 4096):
        n_rows = max(9, 9000 // n_classes)
        x, labels = oracle.problem(n_rows, n_classes, dtype_of(dtype))
        run, [right, losses, _] = bound(backend, "cross_entropy_rows", x, None, labels, {"ignore_index": -100})
        assert run(0, n_rows, 0, 1, contract.ALL) == -1
        row = dtypes.find(x.dtype)
        for apart in (0, 3):
            for skip in (0, 5):
                end = skip + n_rows * (n_classes + apart)
                memory = np.full(end + 70, 3, x.dtype)
                out = dtypes.carrier_view(memory, row)[skip:end].reshape(n_rows, -1)[:, :n_classes]
                job = contract.Job("cross_entropy_rows", row, dtypes.carrier_view(x, row), None, out, labels,
                                   losses=np.empty(n_rows), lse=np.empty(n_rows), ignore_index=-100,
                                   stream=True)
                run = backends.load(backend).bind(job)
                for cut in ((3, n_rows), (0, 1), (1, 3)):
                    assert run(*cut, 0, 1, contract.ALL) == -1
                checks.check_same_bits([out, job.losses], [dtypes.carrier_view(right, row), losses])
                assert (memory == 3).sum() == len(memory) - right.size


@pytest.mark.parametrize("dtype", DTYPES)
def test_streamed_and_kept_rows(backend, dtype):
    """To the bit as those that are neither: wherever rows lie in their cache lines, however far a block's first logits are
    from its maximum, whatever the factor of an exp, down to where exps are cut off."""
    n_rows, row, rng = 12, dtypes.find(dtype_of(dtype)), np.random.default_rng(3)
    powers = np.array([-60, -41, 41, 70, 60, -70, -44])
    factors = np.array([0, np.inf, np.nan, 1e-300, 1, *(2.0**powers * (-1) ** np.arange(7))])
    for n_classes in (contract.BLOCK + 1, 9001, 3 * contract.BLOCK + 50):
        x, labels = oracle.problem(n_rows, n_classes, np.dtype("float64"))
        for k in range(0, n_classes, contract.BLOCK):
            x[:, k:k + 40] -= (5 * np.arange(n_rows) % n_rows)[:, None]
        cut_off = 1064 if dtype == "float64" else 132.4
        x[:, 1::3] -= cut_off * rng.uniform(0.4, 0.8, x[:, 1::3].shape)
        x[:, 2::3] -= cut_off * rng.uniform(0.95, 1.02, x[:, 2::3].shape)
        x = x.astype(dtype_of(dtype))
        x[9, :5000], x[10, 7] = -np.inf, np.nan
        options = dict(dlosses=factors, ignore_index=-100)
        run, [right, losses, _] = bound(backend, "cross_entropy_rows", x, None, labels, options)
        with np.errstate(all="ignore"):
            assert run(0, n_rows, 0, contract.n_blocks(n_classes), contract.ALL) == -1
        for skip, start, apart in ((0, 0, 0), (1, 0, 0), (0, 6, 0), (12, 3, 7)):
            logits = in_line(x.size, x.dtype, skip).reshape(x.shape)
            logits[:] = x
            memory = in_line(n_rows * (n_classes + apart) + 70, x.dtype, start)
            memory[:] = 3
            out = dtypes.carrier_view(memory, row)[:-70].reshape(n_rows, -1)[:, :n_classes]
            for stream in (True, False):
                job = contract.Job("cross_entropy_rows", row, dtypes.carrier_view(logits, row), None, out, labels,
                                   losses=np.empty(n_rows), lse=np.empty(n_rows), stream=stream,
                                   keep_exps=not stream, **options)
                run = backends.load(backend).bind(job)
                with np.errstate(all="ignore"):
                    for cut in ((4, n_rows), (0, 1), (1, 4)):
                        assert run(*cut, 0, contract.n_blocks(n_classes), contract.ALL) == -1
                checks.check_same_bits([out, job.losses], [dtypes.carrier_view(right, row), losses])
                assert (memory == 3).sum() == len(memory) - right.size


def test_weights_are_added_in_float64(backend):
    """What `mean` divides by: class weights in the dtype they are computed in, row weights, ignored rows left out."""
    labels = np.array([0, 1, -100, 2, 1])
    scan = backends.load(backend).scan_labels
    for kind in (np.float32, np.float64):
        weight = np.array([0.1, 2, 1e-9], kind)
        right = np.sum(weight[[0, 1, 2, 1]].astype(float))
        assert scan(labels, 3, -100, weight, None) == (-1, pytest.approx(right, rel=1e-15))
        rows = np.array([1, 0.5, 7, -2, 0])
        right = np.sum(weight[[0, 1, 2]].astype(float) * [1, 0.5, -2])
        assert scan(labels, 3, -100, weight, rows) == (-1, pytest.approx(right, rel=1e-14))
    assert scan(labels, 3, -100, None, rows) == (-1, -0.5)
    assert scan(np.zeros(0, np.int64), 3, -100, None, None) == (-1, 0.0)


@pytest.mark.parametrize("name", contract.KERNELS)
def test_only_the_rows_asked_for_are_written(backend, name):
    x = np.abs(oracle.problem(6, 100, np.float64)[0])
    labels = np.arange(6) if name == "cross_entropy_rows" else None
    run, whole = bound(backend, name, x, x, labels, {})
    run(0, 6, 0, 1, contract.ALL)
    run, part = bound(backend, name, x, x, labels, {})
    run(2, 4, 0, 1, contract.ALL)
    untouched = [3.0, 5.0, 5.0]
    for a, b, before in zip(part, whole, untouched, strict=True):
        checks.check_same_bits([a[2:4]], [b[2:4]])
        assert (a[:2] == before).all() and (a[4:] == before).all()
