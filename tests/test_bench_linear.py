"""The linear layer's benchmark at toy size: what it measures, what it finds missed, how it ends."""

import importlib.util
import json

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import backends
from fastsoftmax.bench import linear, linear_measure, linear_memory, linear_report, linear_rivals
from fastsoftmax.bench.linear_rivals import GRADIENTS, LOSSES, Inputs, Size
from fastsoftmax.bench.rivals import Call

TORCH = bool(importlib.util.find_spec("torch"))
PACKAGES = all(importlib.util.find_spec(name) for name in ("rich", "tqdm"))
needs_packages = pytest.mark.skipif(not PACKAGES, reason="needs fastsoftmax[bench]")
SIZE = Size(5, 8, 70)
ROUNDED = {name for name, (_, _, options) in linear_rivals.OURS.items() if options}  # to bfloat16
PRESENT = [r for r in linear_rivals.contenders() if not r.absent]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No time for threads to settle; a short multiply-add loop."""
    for name, value in {"PAUSE": 0, "SETTLED": 0, "FMA_ITERATIONS": 1 << 10}.items():
        monkeypatch.setattr(linear_measure, name, value)
    monkeypatch.setattr(linear, "GRID_FEATURES", (3, 8))


def _run(folder, *options):
    return linear.main(["--output", str(folder), "--rounds", "2", "--size", "5,8,70", *options])


@needs_packages
def test_everything_is_measured_and_saved(tmp_path, capsys):
    assert _run(tmp_path, "--grid-rows", "1,3", "--grid-classes", "20") == 0
    printed, text = capsys.readouterr().out, (tmp_path / "linear.md").read_text()
    results = json.loads((tmp_path / "linear.json").read_text())
    assert results["status"] == "complete" and results["machine"]["cpu"] and not results["missed"]
    present = {r.name for r in PRESENT}
    for section, names in {"main": present, "memory": present, "one_row": present - {"bare"},
                           "accuracy": present - {"bare"}}.items():
        assert {e["name"] for e in results[section]["entries"]} == names, section
    for e in results["main"]["entries"]:
        assert len(e["seconds"]) == 2 and 0 < e["min_ms"] <= e["ms"]
        assert np.isclose(e["gflop_per_s"], 6 * 5 * 8 * 70 / e["ms"] / 1e6) and e["of_bare"] > 0
        assert (e["times_torch"] is not None) == TORCH
        assert (e["peak_share"] is not None) == ("cython" in backends.available())
    assert all(0 < e["gb_per_s"] and 0 < e["read_share"] for e in results["one_row"]["entries"])
    for e in results["accuracy"]["entries"]:
        assert max(e["errors"].values()) < (0.01 if e["name"] in ROUNDED else 1e-5)
    cells = results["grid"]["cells"]
    assert [c["size"] for c in cells] == [[1, 3, 20], [3, 3, 20], [1, 8, 20], [3, 8, 20]]
    assert results["grid"]["worst"]["ratio"] == min(c["ratio"] for c in cells)
    for said in ("of the FMA peak", "extra MB", "dclassifier", "of reading", "1 x 20", "Worst of 4 cells",
                 "indicative only", "Speed is not judged", "Every target is met.", "NumPy, three bare products"):
        assert said in text, said
    assert ("PyTorch: it is not installed" in text) == (not TORCH)
    assert "Every target is met." in printed and "Worst of 4 cells" in printed and not list(tmp_path.glob("*.part"))


@needs_packages
def test_a_missed_target_is_named_and_ends_with_one(tmp_path, monkeypatch, capsys):
    ours = {name: {"worst_times_numpy": 1e-9} for name in linear_rivals.OURS}
    monkeypatch.setattr(linear_report, "PROMISES", ours)
    monkeypatch.setattr(linear_memory, "measure", lambda rival, size: 0)
    assert _run(tmp_path, "--no-grid") == linear.MISSED
    results = json.loads((tmp_path / "linear.json").read_text())
    judged = {r.label for r in PRESENT if r.ours}
    assert len(results["missed"]) == len(judged) and "grid" not in results
    assert "MISSED" in capsys.readouterr().out and "MISSED" in (tmp_path / "linear.md").read_text()


def _results(**figures):
    entry = {"name": "cython", "label": "fastsoftmax, Cython"} | figures
    return {name: {"entries": [entry]} for name in ("main", "memory", "accuracy", "one_row")}


GOOD = {"peak_share": 0.8, "times_torch": 3.0, "of_bare": 0.65, "extra_mb": 70.0, "worst_times_numpy": 3.0,
        "read_share": 0.85}
BAD = {"peak_share": 0.79, "times_torch": 2.9, "of_bare": 0.66, "extra_mb": 71.0, "worst_times_numpy": 3.1,
       "read_share": 0.84}


def _missed(results, size=linear.SIZE):
    linear_report.judge(results, size)
    return results["missed"]


def test_each_promise_is_judged():
    assert _missed(_results(**GOOD)) == []
    for key, value in BAD.items():
        for missing in (value, float("nan")):
            assert len(_missed(_results(**GOOD | {key: missing}))) == 1, key
    assert len(_missed(_results(**BAD))) == len(BAD)
    assert len(_missed(_results(**BAD), SIZE)) == 2  # of little work, memory and errors alone
    assert _missed(_results()) == _missed({}) == []  # what was not measured


def test_the_worst_cell_is_judged():
    for ratio, n_missed in {0.99: 1, 1.0: 0}.items():
        assert len(_missed({"grid": {"worst": {"ratio": ratio}}})) == n_missed


@pytest.mark.parametrize("rival", PRESENT, ids=lambda rival: rival.name)
@pytest.mark.parametrize("size", [SIZE, Size(1, 8, 70)])
def test_contenders_agree_and_leave_their_inputs_alone(rival, size):
    inputs = {o: Inputs(size, o, 3) for o in (LOSSES, GRADIENTS)}
    before = [a.copy() for a in (inputs[GRADIENTS].x, inputs[GRADIENTS].w, inputs[GRADIENTS].y)]
    right = linear_measure._right(inputs[LOSSES])
    for _ in range(2):
        got = Call(rival, inputs[GRADIENTS]).result()
    assert all(np.array_equal(a, b) for a, b in zip(before, [getattr(inputs[GRADIENTS], n) for n in "xwy"], strict=True))
    if rival.name == linear_rivals.BARE:
        return
    losses = Call(rival, inputs[LOSSES]).result()[0]
    for value, exact in ((losses, right["loss"]), (got[0], right["loss"].mean()), (got[1], right["dfeatures"]),
                         (got[2], right["dclassifier"])):
        bound = {"rtol": 0.02, "atol": 2e-3} if rival.name in ROUNDED else {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(value, exact, **bound)


def test_memory_sees_a_table_of_logits():
    size = Size(200, 16, 20_000)  # 16 MB of logits
    extra = {r.name: linear_memory.measure(r, size) for r in PRESENT if r.name in ("numpy-idiom", "torch")}
    assert extra["numpy-idiom"] >= 16e6 and extra.get("torch", 32e6) >= 32e6


def test_ours_without_compiled_backends_is_numpy(monkeypatch):
    monkeypatch.setattr(backends, "why_not", lambda name: None if name == "numpy" else "not built")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = linear_rivals.contenders()
    assert {r.name for r in found if not r.absent} == {"bare", "numpy-idiom", "numpy"}
    assert linear_measure._fma() == (None, 0)


def test_a_contender_that_fails_is_absent_unless_it_is_ours(monkeypatch):
    def fails(*_, **__):
        raise MemoryError("no room\ntoday")

    bare, *_, ours = PRESENT
    monkeypatch.setattr(linear_rivals, "_products", fails)
    found = {}
    *_, _ = linear_measure._timed(found, Inputs(SIZE, GRADIENTS), [bare, ours], {}, 1, lambda text: None)
    assert found["absent"] == {bare.label: "it failed: MemoryError: no room today"} and found["entries"][0]["ours"]
    monkeypatch.setattr(fs, "linear_cross_entropy_and_grad", fails)
    with pytest.raises(MemoryError):
        list(linear_measure._timed({}, Inputs(SIZE, GRADIENTS), [ours], {}, 1, lambda text: None))


@pytest.mark.parametrize("options", [["--size", "3,4"], ["--size", "0,4,5"], ["--rounds", "0"], ["--grid-rows", "a"]])
def test_bad_numbers_stop_the_parser(options, capsys):
    with pytest.raises(SystemExit) as stopped:
        linear.main(options)
    assert stopped.value.code == 2 and options[0] in capsys.readouterr().err
