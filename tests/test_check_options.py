"""Options out of range or of the wrong kind, and the controls: backends, threads, environment variables."""

from decimal import Decimal
from fractions import Fraction

import checks
import child
import numpy as np
import pytest

import fastsoftmax as fs

X, Y = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32), [0, 1, 2]
Q = np.full((3, 5), 0.2, np.float32)
NAN, INF = float("nan"), float("inf")
SOFT = ("reduction", "label_smoothing", "z_loss", "softcap", "temperature", "axis", "empty")

OUT_OF_RANGE = [
    *[("label_smoothing", v, r", outside \[0, 1\]") for v in (-1e-9, 1.5, NAN, INF, -INF)],
    *[("z_loss", v, r", outside \[0, inf\)") for v in (-1, NAN, INF, np.float32(-2))],
    *[("softcap", v, r", outside \[1e-15, 1e\+15\]") for v in (0, -1, NAN, INF, 1e300, 1e-300)],
    *[("temperature", v, r", outside \[1e-15, 1e\+15\]") for v in (0, -0.0, -1, NAN, INF, 1e300, 1e-300)],
    ("ignore_index", 2**63, r" 9223372036854775808, outside \[-2\^63, 2\^63\)"),
    ("ignore_index", np.uint64(2**64 - 1), r" 18446744073709551615, outside"),
    ("ignore_index", -2**63 - 1, r", outside"),
    *[("reduction", v, "; allowed are 'none', 'mean', 'sum'$") for v in ("avg", "MEAN", "")],
    *[("empty", v, "; allowed are 'nan', 'zero'$") for v in ("one", "NaN")],
    ("axis", 2, r"outside \[-2, 2\) for logits of shape \(3, 5\)"),
]
WRONG_KIND = [
    *[(name, v, "must be a real number, not") for name in ("label_smoothing", "z_loss", "softcap", "temperature")
      for v in ("0.5", b"1", True, np.True_, np.array(True), 1j, np.complex64(1), np.array(1j), [0.5], np.array([0.5]),
                np.array("1"), np.ma.masked, np.datetime64(1, "s"), np.timedelta64(1, "s"), {})],
    *[(name, None, "must be a real number, not NoneType") for name in ("label_smoothing", "z_loss", "temperature")],
    *[("ignore_index", v, "must be an integer, not") for v in (1.0, np.float64(1), "1", True, np.True_, [1], 1j)],
    *[(name, v, "must be a string, not") for name in ("reduction", "empty") for v in (None, 1, b"mean", True, ["mean"])],
    *[("axis", v, "must be an integer, not") for v in (None, 1.0, True, "1", (1,))],
]


def calls(name):
    """Every entry that has the option."""
    out = X.copy()
    yield lambda **o: fs.cross_entropy(X, Y, **o), None
    yield lambda **o: fs.cross_entropy_and_grad(X, Y, out=out, **o), out
    if name in SOFT:
        yield lambda **o: fs.soft_cross_entropy(X, Q, **o), None
        yield lambda **o: fs.soft_cross_entropy_and_grad(X, Q, out=out, **o), out
    if name == "temperature":
        yield lambda **o: fs.softmax(X, out=out, **o), out
        yield lambda **o: fs.log_softmax(X, out=out, **o), out


@pytest.mark.parametrize(("name", "value", "says"), OUT_OF_RANGE, ids=str)
def test_options_out_of_range(name, value, says):
    shown = f"'{value}'" if isinstance(value, str) else value if name in ("ignore_index", "axis") else float(value)
    for call, out in calls(name):
        checks.check_refused(lambda c=call: c(**{name: value}), ValueError, f"^{name} is {shown}".replace("+", r"\+"), out)
        checks.check_refused(lambda c=call: c(**{name: value}), ValueError, says, out)


def test_a_number_beyond_float64():
    checks.check_refused(lambda: fs.cross_entropy(X, Y, z_loss=10**400), ValueError, r"^z_loss is inf, outside \[0, inf\)")


@pytest.mark.parametrize(("name", "value", "says"), WRONG_KIND, ids=str)
def test_options_of_the_wrong_kind(name, value, says):
    for call, out in calls(name):
        checks.check_refused(lambda c=call: c(**{name: value}), TypeError, f"^{name} {says}", out)


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.float16, np.array, Fraction, Decimal])
def test_numbers_of_every_kind_are_taken(backend, kind):
    number = kind(0.25)
    for name in ("label_smoothing", "z_loss", "softcap", "temperature"):
        assert fs.cross_entropy(X, Y, **{name: number}) == fs.cross_entropy(X, Y, **{name: 0.25})
    assert fs.cross_entropy(X, Y, z_loss=np.int8(1), temperature=2, softcap=np.array(3)) > 0
    checks.check_same_bits(*(fs.cross_entropy_and_grad(X, Y, ignore_index=i) for i in (np.int8(1), 1)))


@pytest.mark.parametrize("options", [{"label_smoothing": 0}, {"label_smoothing": -0.0}, {"z_loss": 0}, {"softcap": None},
                                     {"temperature": 1}, {"reduction": np.str_("mean")}, {"ignore_index": None},
                                     {"class_weight": None}, {"sample_weight": None}], ids=str)
def test_what_changes_nothing(backend, options):
    checks.check_same_bits(fs.cross_entropy_and_grad(X, Y, **options), fs.cross_entropy_and_grad(X, Y))


@pytest.mark.parametrize("softcap", [1e-15, 1e15])
@pytest.mark.parametrize("temperature", [1e-15, 1e15])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_ends_of_the_ranges(backend, dtype, temperature, softcap):
    """Nothing overflows on the way: z = c*tanh(x/temperature/c) is an ordinary number."""
    from fastsoftmax import reference

    x = np.array([[0, 1, -1, 6e4, -6e4, 1e-7]], dtype)
    for options in (dict(temperature=temperature), dict(softcap=softcap), dict(temperature=temperature, softcap=softcap)):
        loss, dlogits, lse = fs.cross_entropy_and_grad(x, [1], reduction="none", **options)
        right, _ = reference.cross_entropy(x, np.array([1]), reduction="none", **options)
        z = reference.transform(x, **options)
        checks.check_close(loss, right, np.abs(right) + np.ptp(z), "float32" if dtype != "float64" else dtype)
        checks.check_close(lse, reference.logsumexp(z), 1 + np.abs(z).max(), "float32" if dtype != "float64" else dtype)
        assert not np.isnan(dlogits).any()


def test_signatures_are_keyword_only():
    for call in (lambda: fs.softmax(X, 1), lambda: fs.cross_entropy(X, Y, None), lambda: fs.entropy(X, temperature=1),
                 lambda: fs.cross_entropy(X, Y, weight=None), lambda: fs.soft_cross_entropy(X, Q, ignore_index=1)):
        with pytest.raises(TypeError, match="argument"):
            call()


def test_backend_names():
    for name in ("cuda", "", "Numpy", "_numba_rows", "threads"):
        for call in (fs.set_backend, fs.use_backend):
            checks.check_refused(lambda c=call, n=name: c(n), ValueError,
                                 f"^name is '{name}'; allowed are 'auto', 'cython', 'numba', 'numpy'$")
    for name in (None, 1, ["numpy"], b"numpy"):
        checks.check_refused(lambda n=name: fs.set_backend(n), TypeError, "^name must be a string, not")


def test_thread_counts():
    for n in (0, -1, -2**70):
        for call in (fs.set_num_threads, fs.use_num_threads):
            checks.check_refused(lambda c=call, n=n: c(n), ValueError, f"^n is {n}, but must be at least 1")
    for n in (None, 1.0, True, [1]):
        checks.check_refused(lambda n=n: fs.set_num_threads(n), TypeError, "^n must be an integer, not")
    checks.check_refused(lambda: fs.set_num_threads("two"), ValueError, "^n is 'two', but must be an integer of at least 1")
    old = fs.set_num_threads(np.int64(3))
    assert fs.set_num_threads(old) == 3 and fs.get_num_threads() == old


def test_missing_backends_say_why(monkeypatch):
    monkeypatch.setattr(fs.backends, "why_not", lambda name: "there is no compiler")
    checks.check_refused(lambda: fs.set_backend("cython"), ValueError,
                         "^name is 'cython', which is not available: there is no compiler$")


ENVIRONMENT = [
    ("FASTSOFTMAX_BACKEND", "cuda", "FASTSOFTMAX_BACKEND is 'cuda'; allowed are 'auto', 'cython', 'numba', 'numpy'"),
    ("FASTSOFTMAX_BACKEND", "_numba_rows", "FASTSOFTMAX_BACKEND is '_numba_rows'; allowed are"),
    ("FASTSOFTMAX_NUM_THREADS", "two", "FASTSOFTMAX_NUM_THREADS is 'two', but must be an integer of at least 1"),
    ("FASTSOFTMAX_NUM_THREADS", "1.5", "FASTSOFTMAX_NUM_THREADS is '1.5', but must be"),
    ("FASTSOFTMAX_NUM_THREADS", "0", "FASTSOFTMAX_NUM_THREADS is 0, but must be at least 1"),
    ("FASTSOFTMAX_CPU", "z80", "FASTSOFTMAX_CPU is 'z80'; allowed are"),
]


@pytest.mark.parametrize(("name", "value", "says"), ENVIRONMENT)
def test_environment_variables_of_bad_values(name, value, says):
    if name == "FASTSOFTMAX_CPU" and fs.backends.why_not("cython"):
        pytest.skip("no compiler: the Cython kernels are not built")
    exit_code, out, error = child.end(child.start("import fastsoftmax as fs; print(fs.softmax([0, 0]))", **{name: value}))
    assert exit_code == 1 and f"\nValueError: {says}" in error, out + error


def test_environment_variables_of_good_values():
    code = "import fastsoftmax as fs; print(fs.get_num_threads(), fs.set_backend('auto'), fs.backends.current())"
    out = child.run(code, FASTSOFTMAX_NUM_THREADS="3", FASTSOFTMAX_BACKEND="numpy")
    assert out == f"3 numpy {fs.backends.available()[0]}\n"
    assert child.run(code, FASTSOFTMAX_NUM_THREADS="", FASTSOFTMAX_BACKEND="").split()[1] == "auto"
