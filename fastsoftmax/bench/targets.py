"""What the library promises in speed, as figures: each with where it is read off, so that a report can judge itself."""

from collections.abc import Callable
from dataclasses import dataclass

LARGE = "large"
CEILING_SHARES = {"loss": 0.90, "gradient-in-place": 0.85, "gradient": 0.85, "softmax": 0.85}
LOWER_SHARE = 0.75  # of the same ceilings, by builds for less than x86-64-v4
RATIOS = (("torch", "PyTorch", "gradient-in-place", 15.0), ("indices", "NumPy, indices", "gradient-in-place", 7.0),
          ("one-hot", "NumPy, one-hot", "gradient-in-place", 18.0), ("torch", "PyTorch", "loss", 10.0))
NUMBA_OVER_CYTHON = 1.15
DTYPE_GAIN = {"bfloat16": 1.7, "float64": 1 / 2.2}  # how many times faster than float32
ONE_ROW_GAIN = 1.7  # of two threads over one
NUMBA_FIRST_CALL = 0.5  # seconds, cached
SMALL_CALL = 6.0  # microseconds


@dataclass(frozen=True)
class Target:
    """text: what; bound: how much; measure(results) -> the figure, or None where it was not measured."""

    text: str
    bound: float
    measure: Callable
    at_most: bool = False
    form: str = "{:.2f}"

    def judge(self, results):
        """{"text", "wanted", "measured", "met"}, or None."""
        value = self.measure(results)
        if value is None:
            return None
        met = value <= self.bound if self.at_most else value >= self.bound
        return {"text": self.text, "wanted": ("at most " if self.at_most else "at least ") + self.form.format(self.bound),
                "measured": self.form.format(value), "met": met}


def judge(results):
    """Every target that these results can answer; none at toy size, where figures have no meaning."""
    if (results.get("options") or {}).get("toy"):
        return []
    judged = [target.judge(results) for target in _targets(results)]
    return [j for j in judged if j is not None]


def _targets(results):
    lower = (results.get("machine") or {}).get("instruction_set") not in (None, "x86-64-v4")
    for name, share in CEILING_SHARES.items():
        yield Target(f"Cython, {name}: share of the ceiling", LOWER_SHARE if lower else share,
                     lambda r, name=name: _over(_entry(r, "cython", name), "percent", 100))
    for rival, label, name, times in RATIOS:
        yield Target(f"{label}, {name}: times our time", times,
                     lambda r, rival=rival, name=name: _over(_entry(r, rival, name), "ratio", 1), form="{:.1f}")
    for name in CEILING_SHARES:
        yield Target(f"Numba, {name}: times Cython's time", NUMBA_OVER_CYTHON,
                     lambda r, name=name: _over(_entry(r, "numba", name), "ratio", 1), at_most=True)
    for dtype, gain in DTYPE_GAIN.items():
        for name in ("loss", "gradient-in-place"):
            yield Target(f"Cython, {name}: times faster in {dtype} than in float32", gain,
                         lambda r, dtype=dtype, name=name: _dtype_gain(r, dtype, name))
    yield Target("Cython, loss of one row of 1,000,000: times faster on 2 threads", ONE_ROW_GAIN, _one_row_gain)
    yield Target("Numba, first call in a new process, cached: seconds", NUMBA_FIRST_CALL,
                 lambda r: (_sweep(r, "first_call") or {}).get("fastsoftmax, Numba"), at_most=True)
    yield Target("Cython, a small call, the slowest of its operations: microseconds", SMALL_CALL, _small_call, at_most=True)
    yield Target("worst cell of the grid: times our time", 1.0,
                 lambda r: ((r.get("grid") or {}).get("worst") or {}).get("ratio"))


def _over(entry, key, unit):
    return None if entry is None or entry.get(key) is None else entry[key] / unit


def _entry(results, contender, operation):
    """The contender's entry in the default case, where our Cython backend, whose targets these are, took part."""
    for case in results.get("cases", []):
        for o in case["operations"]:
            if case["name"] == LARGE and o["name"] == operation:
                found = {e["name"]: e for e in o["entries"]}
                return found.get(contender) if "cython" in found else None
    return None


def _sweep(results, name):
    return (results.get("sweeps") or {}).get(name)


def _dtype_gain(results, dtype, operation):
    for o in (_sweep(results, "dtypes") or {}).get("operations", []):
        ms = {e["dtype"]: e["ms"] for e in o["entries"] if e["name"] == "cython"}
        if o["name"] == operation and dtype in ms and "float32" in ms:
            return ms["float32"] / ms[dtype]
    return None


def _small_call(results):
    return max((_sweep(results, "small_call") or {}).get("lines", {}).get("fastsoftmax, Cython", {}).values(), default=None)


def _one_row_gain(results):
    sweep = _sweep(results, "threads") or {}
    line = sweep.get("lines", {}).get("fastsoftmax, Cython, loss, one row")
    if line is None or 2 not in sweep["threads"]:
        return None
    return line["ms"][0] / line["ms"][sweep["threads"].index(2)]
