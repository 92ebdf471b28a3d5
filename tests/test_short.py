"""The short cut of small plain calls: taken for each of them, with the bits of the long way; refused for all others."""

import importlib
import inspect
import sys
import threading
import time

import checks
import ml_dtypes
import numpy as np
import pytest
from layouts import read_only, unaligned
from operations import DTYPES, dtype_of
from test_run import builds

import fastsoftmax as fs
from fastsoftmax import backends, contract

pytestmark = [pytest.mark.every_backend,
              pytest.mark.skipif(bool(backends.why_not("cython")), reason="the Cython kernels are not built")]
NAN, INF = np.nan, np.inf
CALLS = {
    "softmax": lambda x, y, **options: fs.softmax(x, **options),
    "log_softmax": lambda x, y, **options: fs.log_softmax(x, **options),
    "logsumexp": lambda x, y, **options: fs.logsumexp(x, **options),
    "cross_entropy": fs.cross_entropy,
    "cross_entropy_and_grad": fs.cross_entropy_and_grad,
}
LABELLED = ("cross_entropy", "cross_entropy_and_grad")
IN_PLACE = ("softmax", "log_softmax", "cross_entropy_and_grad")
SHAPES = [(4, 10), (1, 1), (7,), (1,), (3, 1), (1, 17), (2, 3, 5), (2, 1, 2, 33), (9, 16), (2, 4096), (3, 4097),
          (1, 20_000)]
each_call = pytest.mark.parametrize("name", CALLS)


class Short:
    """The backend's short cut, which can be closed, and whether the last call took it."""

    def __init__(self, monkeypatch):
        self.module, self.monkeypatch = backends.load("cython"), monkeypatch
        self.use(self.module.short_cut)

    def use(self, short_cut):
        def watched(*arguments):
            result = short_cut(*arguments) if self.open else None
            self.taken = result is not None
            return result

        self.open, self.taken = True, None
        self.monkeypatch.setattr(self.module, "short_cut", watched)

    def long(self, call):
        self.open = False
        try:
            return call()
        finally:
            self.open = True

    def check_same(self, call):
        """The call takes the short cut, and returns what the long way does: in types, shapes and bits."""
        got = call()
        assert self.taken
        right = self.long(call)
        assert self.taken is False and type(got) is type(right)
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (got, right)), strict=True):
            assert type(a) is type(b)
            if isinstance(a, np.ndarray):
                assert a.flags.c_contiguous and b.flags.c_contiguous and a.flags.writeable and b.flags.writeable
            checks.check_same_bits([a], [b])


@pytest.fixture
def short(monkeypatch):
    with fs.use_backend("cython"):
        yield Short(monkeypatch)


def problem(shape=(4, 10), dtype="float32", seed=0):
    """Logits, and labels of which every fifth is ignored."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(rng.integers(0, shape[-1], shape[:-1]))
    labels.reshape(-1)[3::5] = -100
    return (3 * rng.normal(size=shape)).astype(dtype_of(dtype)), labels


def options_of(name):
    return [{"reduction": r} for r in ("none", "mean", "sum")] if name in LABELLED else [{}]


def check_every_way(short, name, x, labels):
    """Fresh, in place, and each reduction."""
    for options in options_of(name):
        short.check_same(lambda o=options: CALLS[name](x, labels, **o))
        if name in IN_PLACE:
            results = []

            def in_place(o=options, results=results):
                mine = x.copy()
                results.append((mine, CALLS[name](mine, labels, out=mine, **o)))
                return results[-1][1]

            def elsewhere(o=options, results=results):
                out = np.empty_like(x)
                results.append((out, CALLS[name](x, labels, out=out, **o)))
                return results[-1][1]

            short.check_same(in_place)
            short.check_same(elsewhere)
            assert all((got.dlogits if name in LABELLED else got) is out for out, got in results)


@each_call
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_of_the_long_way(short, name, dtype, shape):
    check_every_way(short, name, *problem(shape, dtype))


@each_call
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_classes", [3, 4097])
def test_what_is_masked_or_broken(short, name, dtype, n_classes):
    x, labels = problem((12, n_classes), dtype)
    x[0, 1], x[1, :2], x[2], x[4, 0], x[5, 2], x[6, :] = -INF, -INF, -INF, INF, NAN, 1e-7
    most = ml_dtypes.finfo(x.dtype).max
    x[7, 0], x[8, 1:], x[9, 0], x[9, 1] = most, -most, INF, NAN
    check_every_way(short, name, x, labels)
    for options in options_of(name):
        checks.check_quiet(lambda o=options: CALLS[name](x, labels, **o))
        assert short.taken


@pytest.mark.parametrize("name", LABELLED)
def test_what_is_ignored(short, name):
    x, labels = problem()
    check_every_way(short, name, x, np.full_like(labels, -100))
    labels = labels.clip(0)
    for label in (-100, 0, 3, -1, 2**63 - 1, -2**63):
        labels[1] = label
        short.check_same(lambda: CALLS[name](x, labels, ignore_index=label))  # noqa: B023
        if name == "cross_entropy_and_grad":
            assert not CALLS[name](x, labels, ignore_index=label).dlogits[1].any()


def test_a_sum_beyond_float64_and_a_result_below_float16_are_quiet(short):
    wide = np.array([[0, 1.7e308]] * 3)
    for reduction in ("mean", "sum"):
        assert checks.check_quiet(lambda r=reduction: fs.cross_entropy(wide, np.zeros(3, int), reduction=r)) == INF
        assert short.taken
    half = np.full(2, -np.log(2), np.float16)
    assert 0 < abs(checks.check_quiet(lambda: fs.logsumexp(half))) < 1e-3 and short.taken
    short.check_same(lambda: fs.logsumexp(half))


def test_losses_are_added_in_one_order(short):
    """np.add.reduce's: runs of 8 below 128, halves above."""
    for n_rows in [*range(1, 300), 511, 512, 1000, 1031, 4096, 40_001, 65_536]:
        x, labels = problem((n_rows, 2), "float64", seed=n_rows)
        for reduction in ("mean", "sum"):
            short.check_same(lambda: fs.cross_entropy(x, labels, reduction=reduction))  # noqa: B023


@pytest.mark.parametrize("module", builds())
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_instruction_set(short, monkeypatch, module, dtype):
    kernels = importlib.import_module(f"fastsoftmax.backends.{module}")
    monkeypatch.setattr(short.module, "bind", kernels.bind)
    monkeypatch.setattr(short.module, "scan_labels", kernels.scan_labels)
    short.use(kernels.short_cut)
    for shape in [(4, 10), (33,), (3, 97), (2, 4099)]:
        for name in CALLS:
            check_every_way(short, name, *problem(shape, dtype))


def test_defaults_may_be_written_out(short):
    x, labels = problem()
    options = dict(axis=-1, temperature=1.0)
    assert (fs.softmax(x, **options, out=None) == fs.softmax(x)).all() and short.taken
    assert (fs.logsumexp(x, axis=-1, keepdims=False) == fs.logsumexp(x)).all() and short.taken
    options |= dict(class_weight=None, sample_weight=None, ignore_index=-100, label_smoothing=0.0, z_loss=0.0,
                    softcap=None, empty="nan", dlosses=None, out=None)
    short.check_same(lambda: fs.cross_entropy_and_grad(x, labels, **options))


def test_read_only_inputs_are_plain(short):
    x, labels = map(read_only, problem())
    for name in CALLS:
        short.check_same(lambda n=name: CALLS[n](x, labels))


class Sub(np.ndarray):
    pass


UNUSUAL_LOGITS = {
    "subclass": lambda x: x.view(Sub),
    "masked": np.ma.masked_array,
    "Fortran order": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "rows apart": lambda x: np.pad(x, ((0, 0), (0, 3)))[:, :-3],
    "reversed": lambda x: x[::-1],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "swapped": lambda x: x.astype(">f4"),
    "unaligned": unaligned,
    "list": lambda x: x.tolist(),
    "integers": lambda x: x.astype(int),
    "bool": lambda x: x > 0,
    "complex": lambda x: x.astype(complex),
    "longdouble": lambda x: x.astype(np.longdouble) if np.longdouble is not np.float64 else x.astype(int),
    "object": lambda x: x.astype(object),
    "no rows": lambda x: x[:0],
    "no classes": lambda x: x[:, :0],
    "0-d": lambda x: x[0, 0].reshape(()),
    "None": lambda x: None,
    "large": lambda x: np.zeros((4, contract.STREAMED_BYTES // 16), np.float32),
}
UNUSUAL_LABELS = {
    "subclass": lambda y: y.view(Sub),
    "masked": np.ma.masked_array,
    "uint64": lambda y: y.clip(0).astype(np.uint64),
    "bool": lambda y: y > 0,
    "float": lambda y: y.astype(float),
    "swapped": lambda y: y.astype(">i8"),
    "strided": lambda y: np.repeat(y, 2)[::2],
    "reversed": lambda y: y[::-1],
    "unaligned": unaligned,
    "times": lambda y: y.view("m8[s]"),
    "list": lambda y: y.tolist(),
    "a column": lambda y: y[:, None],
    "one more": lambda y: np.append(y, 0),
    "a scalar": lambda y: y[0],
    "0-d": lambda y: y[0].reshape(()),
    "None": lambda y: None,
    "out of range": lambda y: np.append(y[:-1], 10),
    "negative": lambda y: np.append(y[:-1], -1),
    "2^32 + 3": lambda y: np.append(y[:-1], 2**32 + 3),
}
UNUSUAL_OPTIONS = {
    "softmax": [{"axis": 0}, {"axis": 1}, {"axis": np.int64(-1)}, {"axis": True}, {"temperature": 0}, {"temperature": -1},
                {"temperature": np.float64(1)}, {"temperature": True}, {"temperature": NAN}, {"temperature": INF},
                {"temperature": 10**400}, {"temperature": 1e-16}, {"axis": None}, {"dim": 1}, {"softcap": 2.0}],
    "logsumexp": [{"keepdims": True}, {"keepdims": 1}, {"keepdims": np.False_}, {"axis": 0}, {"out": None}],
    "cross_entropy_and_grad": [
        {"class_weight": np.ones(10)}, {"sample_weight": 1.0}, {"sample_weight": np.ones(4)}, {"label_smoothing": 1.1},
        {"label_smoothing": -1}, {"label_smoothing": False}, {"label_smoothing": np.zeros(1)}, {"label_smoothing": NAN},
        {"label_smoothing": None}, {"z_loss": INF}, {"z_loss": -1e-4}, {"z_loss": np.float32(1)}, {"z_loss": "1"},
        {"softcap": 0.0}, {"softcap": 1e16}, {"softcap": False}, {"temperature": np.float64(0.5)}, {"axis": 1},
        {"empty": "zero"}, {"empty": "maybe"},
        {"dlosses": 2.0}, {"dlosses": np.ones(4)}, {"ignore_index": None}, {"ignore_index": True}, {"ignore_index": -100.0},
        {"ignore_index": np.int64(2)}, {"ignore_index": 2**63}, {"reduction": "median"}, {"reduction": None},
        {"reduction": np.str_("sum")}, {"reduction": ["sum"]}, {"weight": None}],
}


NUMBERS = [{"temperature": 2.5}, {"temperature": 2}, {"temperature": 1e-15}, {"softcap": 1.5},
           {"softcap": 2, "temperature": 3}, {"label_smoothing": 0.1}, {"label_smoothing": 1}, {"label_smoothing": 0},
           {"z_loss": 0.01}, {"z_loss": 1},
           {"label_smoothing": 0.2, "z_loss": 0.1, "softcap": 3.0, "temperature": 0.7}]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", NUMBERS, ids=str)
def test_numbers_are_taken(short, options, dtype):
    """With the bits of the long way too, whatever the rows hold, whole or cut by classes."""
    for shape in ((4, 10), (3, 1), (2, 3, 5), (3, 4097), (1, 20_000), (2, 300_000)):
        x, labels = problem(shape, dtype)
        if shape == (4, 10):
            x[0, :2], x[1, 0], x[2, 3] = -INF, NAN, INF
        for name in CALLS:
            if set(options) <= set(inspect.signature(getattr(fs, name)).parameters):
                for reduction in options_of(name):
                    short.check_same(lambda n=name, r=reduction, x=x, y=labels: CALLS[n](x, y, **r, **options))
                if name in IN_PLACE:
                    short.check_same(lambda n=name, x=x, y=labels: CALLS[n](mine := x.copy(), y, out=mine, **options))


def outcome(call):
    """What the call gives, or the error that it raises."""
    try:
        return call()
    except (TypeError, ValueError) as error:
        return type(error), str(error)


def check_long(short, call):
    got = outcome(call)
    assert short.taken is False
    right = short.long(lambda: outcome(call))
    assert type(got) is type(right)
    if isinstance(got, tuple) and isinstance(got[0], type):
        assert got == right
    else:
        checks.check_same_bits(*(r if isinstance(r, tuple) else (r,) for r in (got, right)))


@each_call
@pytest.mark.parametrize("kind", UNUSUAL_LOGITS)
def test_unusual_logits_go_the_long_way(short, name, kind):
    x, labels = problem()
    x = UNUSUAL_LOGITS[kind](x)
    check_long(short, lambda: CALLS[name](x, labels[: np.asarray(x).shape[0] if np.ndim(x) else 4]))


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("kind", UNUSUAL_LABELS)
def test_unusual_labels_go_the_long_way(short, name, kind):
    x, labels = problem()
    labels = labels.clip(0)
    check_long(short, lambda: CALLS[name](x, UNUSUAL_LABELS[kind](labels)))


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "longlong"])
def test_labels_of_other_integers(short, name, dtype):
    x, labels = problem((12, 100))
    narrow = labels.clip(0).astype(dtype)
    short.check_same(lambda: CALLS[name](x, narrow))
    if narrow.dtype.kind == "i":
        check_long(short, lambda: CALLS[name](x, np.full_like(narrow, -1)))  # an error, which says what was given
        short.check_same(lambda: CALLS[name](x, np.where(narrow > 50, -100, narrow).astype(dtype)))


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, several in UNUSUAL_OPTIONS.items() for o in several], ids=str)
def test_unusual_options_go_the_long_way(short, name, options):
    x, labels = problem()
    check_long(short, lambda: CALLS[name](x, labels, **options))


@pytest.mark.parametrize("call", [
    lambda x, y: fs.softmax(), lambda x, y: fs.softmax(x, y), lambda x, y: fs.softmax(logits=x),
    lambda x, y: fs.cross_entropy(x), lambda x, y: fs.cross_entropy(x, labels=y),
    lambda x, y: fs.cross_entropy(x, y, None)])
def test_arguments_by_name_and_too_few_or_many_go_the_long_way(short, call):
    check_long(short, lambda: call(*problem()))


@pytest.mark.parametrize("name", IN_PLACE)
def test_unusual_outputs_go_the_long_way(short, name):
    x, labels = problem()
    for out in (lambda x: x[:], lambda x: x.view(Sub), lambda x: x[::-1], lambda x: x[:2], lambda x: x.astype(float),
                np.ndarray.tolist, np.asfortranarray, lambda x: x.astype(">f4"), lambda x: x.reshape(2, 2, 10).copy(),
                lambda x: x.reshape(-1), read_only, unaligned, np.ma.masked_array, lambda x: x.copy()[:, ::-1]):
        def elsewhere(out=out):
            mine = x.copy()
            return CALLS[name](mine, labels, out=out(mine))

        check_long(short, elsewhere)
    x = read_only(x)
    checks.check_refused(lambda: CALLS[name](x, labels, out=x), ValueError, "out is read-only", x)
    assert short.taken is False


def test_a_wrong_label_leaves_everything_as_it_was(short):
    x, labels = problem()
    labels[2] = 10
    checks.check_refused(lambda: fs.cross_entropy_and_grad(x, labels, out=x), fs.LabelError, r"labels\[2\] is 10", x)
    assert short.taken is False


def test_labels_in_the_memory_that_is_written(short):
    memory = np.zeros(40)
    labels = memory.view(np.int64)[36:]
    out = memory.reshape(4, 10)
    for x in (out, np.zeros((4, 10))):
        checks.check_refused(lambda x=x: fs.cross_entropy_and_grad(x, labels, out=out), ValueError, "overlaps labels", out)
        assert short.taken is False


def test_outputs_that_begin_where_the_logits_end(short):
    """They may touch, and not overlap."""
    memory = np.zeros(80)
    x, out = memory[:40].reshape(4, 10), memory[40:].reshape(4, 10)
    short.check_same(lambda: fs.softmax(x, out=out))
    out = memory[39:79].reshape(4, 10)
    checks.check_refused(lambda: fs.softmax(x, out=out), ValueError, "out overlaps logits", out)
    assert short.taken is False


def test_a_label_that_changes_after_it_was_checked(short):
    """The kernels find it; its row comes back, and the error says which."""
    x, labels = problem((2, 3, 5))
    labels[1, 2] = 7
    short.use(lambda *_: 5)
    with pytest.raises(fs.LabelError, match=r"^labels\[1, 2\] is 7, outside \[0, 5\) and not ignore_index=-100$"):
        fs.cross_entropy(x, labels)


def test_labels_that_another_thread_keeps_changing(short):
    x, labels = problem((3000, 4))
    labels[:] = 1
    right, stop, seen = fs.cross_entropy_and_grad(x, labels).loss, threading.Event(), set()

    def change():
        while not stop.is_set():
            labels[1500], labels[1500] = 2**40, 1

    thread, interval = threading.Thread(target=change), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # at the usual 5 ms the two threads seldom meet
    thread.start()
    try:
        for _ in range(3000):
            got = outcome(lambda: fs.cross_entropy_and_grad(x, labels))
            seen.add(got[0])
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    assert seen <= {right, fs.LabelError}


def test_other_backends_and_threads(short):
    """A backend chosen here is the one that runs; any number of threads does."""
    x, labels = problem()
    right = fs.cross_entropy(x, labels)
    for name in backends.available():
        short.taken = None
        with fs.use_backend(name):
            assert abs(fs.cross_entropy(x, labels) - right) < 1e-6 and short.taken is (True if name == "cython" else None)
    old = fs.set_backend("numpy")
    try:
        short.taken = None
        thread = threading.Thread(target=lambda: fs.cross_entropy(x, labels))
        thread.start()
        thread.join()
        assert short.taken is None
    finally:
        fs.set_backend(old)
    for n_threads, n_rows in [(1, 1), (2, 1), (2, 3), (2, 4), (7, 4), (7, 14)]:
        with fs.use_num_threads(n_threads):  # so few long rows are cut by classes
            fs.softmax(np.zeros((n_rows, 3_000_000 // n_rows), np.float32))
            assert short.taken


@each_call
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("special", [NAN, np.inf, -np.inf, 80.0])
def test_rows_cut_by_classes(short, name, dtype, special):
    """What is masked, broken, sure or ignored, in one block of the row, in all, or where two meet."""
    x, labels = problem((3, 700_000 if dtype == "bfloat16" else 400_000), dtype)
    x[0, 300_000] = x[1, contract.BLOCK * 17 - 1: contract.BLOCK * 18 + 1] = special
    x[2] = special
    for ignored in (labels, np.array([labels[0], -100, labels[2]])):
        with fs.use_num_threads(2):
            check_every_way(short, name, x, ignored)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1000, 10), (300, 600), (64, 5000), (70, 20_000), (1, 1_000_000), (3, 300_000),
                                   (2, 100_003)])
def test_threads_change_no_bit(short, shape, dtype):
    """However many there are, asleep or awake, rows that go round evenly or not, or are cut by classes."""
    x, labels = problem(shape, dtype)
    for name in CALLS:
        with fs.use_num_threads(1):
            right = CALLS[name](x, labels)
        for n_threads in (2, 3, 7):
            with fs.use_num_threads(n_threads):
                for pause in (0, 0, 0, 0.001):
                    time.sleep(pause)
                    short.check_same(lambda: CALLS[name](x, labels))  # noqa: B023
                    got = CALLS[name](x, labels)
                    checks.check_same_bits(*(r if isinstance(r, tuple) else (r,) for r in (got, right)))
