"""Labels: every one outside [0, n_classes) is named, whatever its dtype, in every entry, before anything is written."""

import checks
import child
import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import backends, contract

X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
RANGE = r", outside \[0, 5\)"

OUT_OF_RANGE = [
    ([0, 1, 5], r"labels\[2\] is 5" + RANGE + " and not ignore_index=-100"),
    ([0, -1, 7], r"labels\[1\] is -1" + RANGE),
    ([-2**63, 0, 0], r"labels\[0\] is -9223372036854775808" + RANGE),
    ([0, 2**32 + 3, 1], r"labels\[1\] is 4294967299" + RANGE),
    ([0, -2**32 - 100, 1], r"labels\[1\] is -4294967396" + RANGE),
    (np.array([0, 1, 2**64 - 100], np.uint64), r"labels\[2\] is 18446744073709551516" + RANGE),
    (np.array([0, 9, 2**63], np.uint64), r"labels\[1\] is 9" + RANGE),
    (np.array([2**63 + 3, 9, 1], ">u8"), r"labels\[0\] is 9223372036854775811" + RANGE),
    (np.array([156, 1, 2], np.uint8), r"labels\[0\] is 156" + RANGE),
    (np.array([0, 1, 65436], np.uint16), r"labels\[2\] is 65436" + RANGE),
    (np.array([0, 1, 2**32 - 100], np.uint32), r"labels\[2\] is 4294967196" + RANGE),
    (np.array([0, -128, 2], np.int8), r"labels\[1\] is -128" + RANGE),
    (np.array([0, 5, 2], ">i2"), r"labels\[1\] is 5" + RANGE),
]


@pytest.mark.parametrize(("labels", "says"), OUT_OF_RANGE)
def test_labels_out_of_range(backend, labels, says):
    for error in (ValueError, IndexError, fs.LabelError):
        checks.check_refused(lambda: fs.cross_entropy(X, labels), error, says)
    for reduction in ("none", "mean", "sum"):
        checks.check_refused(lambda r=reduction: fs.cross_entropy_and_grad(X, labels, reduction=r), fs.LabelError, says)
    out = np.full_like(X, 7)
    checks.check_refused(lambda: fs.cross_entropy_and_grad(X, labels, out=out), fs.LabelError, says, out)
    same = X.copy()
    checks.check_refused(lambda: fs.cross_entropy_and_grad(same, labels, out=same), fs.LabelError, says, same)


@pytest.mark.parametrize("options", [
    {"class_weight": np.ones(5)}, {"sample_weight": [1, 1, 0]}, {"sample_weight": 0}, {"label_smoothing": 1.0},
    {"ignore_index": None}, {"ignore_index": 3}, {"empty": "zero"}], ids=str)
def test_no_option_hides_a_label(backend, options):
    """Not even a weight of 0: the row is inert, its label still has to be one."""
    checks.check_refused(lambda: fs.cross_entropy_and_grad(X, [0, 1, 5], **options), fs.LabelError, r"labels\[2\] is 5")


def test_labels_out_of_range_in_every_layout(backend):
    labels = np.array([[0, 1, 2], [0, 5, -1]])
    says = r"labels\[1, 1\] is 5" + RANGE
    for x, axis in [(np.zeros((2, 3, 5)), -1), (np.zeros((5, 2, 3)), 0), (np.zeros((2, 5, 3)), 1)]:
        for order in "CF":
            out = np.full_like(x, 7)
            z = np.asarray(x, order=order)
            checks.check_refused(lambda z=z, a=axis, o=out: fs.cross_entropy_and_grad(z, labels, axis=a, out=o),
                                 fs.LabelError, says, out)
    checks.check_refused(lambda: fs.cross_entropy(np.zeros(5), 5), fs.LabelError, "labels is 5" + RANGE)
    long = np.zeros((1, 1_100_001), np.float32)  # its classes are split among the threads
    with fs.use_num_threads(2):
        checks.check_refused(lambda: fs.cross_entropy_and_grad(long, [1_100_001], out=long), fs.LabelError,
                             r"labels\[0\] is 1100001, outside \[0, 1100001\)", long)


@pytest.mark.parametrize("ignore_index", [-100, 3, 156, 7, 2**63 - 1, -2**63, -1])
def test_ignore_index_may_be_any_int64(backend, ignore_index):
    labels = np.array([0, ignore_index, 2])
    loss, dlogits, lse = fs.cross_entropy_and_grad(X, labels, ignore_index=ignore_index, reduction="none")
    assert loss[1] == 0 and lse[1] == 0 and not dlogits[1].any() and loss[[0, 2]].all()
    other = f" and not ignore_index={ignore_index}" if ignore_index > -2**63 else ""
    checks.check_refused(lambda: fs.cross_entropy(X, [0, 5, 2], ignore_index=ignore_index), fs.LabelError,
                         rf"labels\[1\] is 5{RANGE}{other}$")


def test_without_an_ignore_index_no_label_is_ignored(backend):
    for label in (-100, -1, -2**63, 2**63 - 1):
        checks.check_refused(lambda y=label: fs.cross_entropy(X, [0, y, 2], ignore_index=None), fs.LabelError,
                             rf"labels\[1\] is {label}{RANGE}$")


def test_an_unsigned_label_is_never_a_negative_ignore_index(backend):
    for kind, label in [(np.uint8, 156), (np.uint16, 2**16 - 100), (np.uint32, 2**32 - 100), (np.uint64, 2**64 - 100)]:
        labels = np.array([0, label, 1], kind)
        checks.check_refused(lambda y=labels: fs.cross_entropy(X, y, ignore_index=-100), fs.LabelError,
                             rf"labels\[1\] is {label}")
    assert fs.cross_entropy(X, np.array([0, 156, 1], np.uint8), ignore_index=156) > 0


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
                                  ">i2", ">i4", ">i8", ">u4", ">u8"])
def test_every_integer_dtype_is_taken(backend, kind):
    right = fs.cross_entropy(X, [4, 0, 2])
    labels = np.array([4, 0, 2], kind)
    assert fs.cross_entropy(X, labels) == right
    spread = np.repeat(labels, 2)[::2][::-1]
    assert not spread.flags.c_contiguous and fs.cross_entropy(X[::-1], spread) == pytest.approx(right, rel=1e-15)
    labels.flags.writeable = False
    assert fs.cross_entropy(X, labels) == right
    unaligned = np.frombuffer(b"\0" + labels.tobytes(), np.uint8)[1:].view(labels.dtype)
    assert fs.cross_entropy(X, unaligned) == right


@pytest.mark.parametrize(("labels", "error", "says"), [
    ([0.0, 1.0, 2.0], TypeError, "labels has dtype float64; class indices of an integer dtype are required"),
    ([0, float("nan"), 2], TypeError, "labels has dtype float64"),
    ([True, False, True], TypeError, "labels has dtype bool"),
    ([0j, 1, 2], TypeError, "labels has dtype complex128"),
    (["0", "1", "2"], TypeError, "labels has dtype <U1"),
    ([0, None, 2], TypeError, "labels has dtype object"),
    ([0, 2**64, 2], TypeError, "labels has dtype object"),
    (np.array([0, 1, 2], "m8[s]"), TypeError, "labels has dtype timedelta64"),
    (None, TypeError, "labels must be an integer array, not None"),
    (np.ma.array([0, 1, 2]), TypeError, "labels is a masked array"),
    ([0, np.ma.masked, 2], TypeError, "labels is a masked array"),
    ([[0], [1, 2]], ValueError, "labels cannot be read as an array"),
    ([0, 1], ValueError, r"labels has shape \(2,\), but must have \(3,\), one label a row"),
    (0, ValueError, r"labels has shape \(\)"),
    ([[0, 1, 2]], ValueError, r"labels has shape \(1, 3\)"),
    ([[0], [1], [2]], ValueError, r"labels has shape \(3, 1\)"),
    (np.eye(3, 5, dtype=int), ValueError, r"labels has shape \(3, 5\)"),
    ([], ValueError, r"labels has shape \(0,\)"),
])
def test_labels_of_the_wrong_kind(labels, error, says):
    out = np.full_like(X, 7)
    checks.check_refused(lambda: fs.cross_entropy(X, labels), error, says)
    checks.check_refused(lambda: fs.cross_entropy_and_grad(X, labels, out=out), error, says, out)


@pytest.mark.parametrize("becomes", [1_100_001, -1, -100 - 2**32, 2**44, -2**63])
@pytest.mark.parametrize("case", ["rows", "copied rows", "split classes"])
def test_a_label_that_changes_after_the_check_is_caught_by_the_kernel(backend, monkeypatch, becomes, case):
    shape = (1, 1_100_001) if case == "split classes" else (3, 5)
    x = np.zeros(shape, np.float32, order="F" if case == "copied rows" else "C")
    labels = np.zeros(len(x), np.int64)
    scan = backends.load(backend).scan_labels

    def scan_then_change(*arguments):
        found = scan(*arguments)
        labels[-1] = becomes
        return found

    monkeypatch.setattr(backends.load(backend), "scan_labels", scan_then_change)
    monkeypatch.setattr(backends.load(backend), "short_cut", contract.no_short_cut, raising=False)
    for call in (fs.cross_entropy, fs.cross_entropy_and_grad):
        labels[:] = 0
        with fs.use_num_threads(2), pytest.raises(fs.LabelError, match=rf"labels\[{len(x) - 1}\] is {becomes}, outside"):
            call(x, labels)


RACE = """
import sys, threading, time, numpy as np, fastsoftmax as fs
fs.set_backend(sys.argv[1])
stop, caught = threading.Event(), 0

def change(labels):
    while not stop.is_set():
        labels[:] = 2**44  # far outside: a read or write there is a segmentation fault
        time.sleep(0)  # the others' turn
        labels[:] = 3
        time.sleep(0)

for shape in ((4, 300_000), (1, 1_100_000), (500, 100)):
    x, labels = np.zeros(shape, np.float32), np.full(shape[0], 3)
    out = np.empty_like(x)
    other = threading.Thread(target=change, args=(labels,))
    stop.clear()
    other.start()
    end = time.monotonic() + 0.25
    while time.monotonic() < end:
        try:
            fs.cross_entropy_and_grad(x, labels, out=out)
        except fs.LabelError:
            caught += 1
    stop.set()
    other.join()
assert caught
print("survived")
"""


def test_labels_that_another_thread_changes_meanwhile(backend):
    """A kernel checks a label on the load that indexes with it: the answer may be of either label, memory is safe."""
    assert child.run(RACE, backend) == "survived\n"


def test_no_row_of_no_class_needs_a_label(backend):
    assert np.isnan(fs.cross_entropy(np.zeros((0, 0)), []))
    assert fs.cross_entropy_and_grad(np.zeros((0, 5)), np.zeros(0, np.uint64), reduction="none").dlogits.shape == (0, 5)
