"""The benchmark at toy size: every case and rival, the report, regressions, Ctrl-C, the README's part."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax import backends
from fastsoftmax.bench import (
    cases,
    ceilings,
    compare,
    grid,
    machine,
    measure,
    memory,
    oracle,
    plots,
    readme,
    report,
    rivals,
    rounds,
    session,
    targets,
)
from fastsoftmax.cli import main

PACKAGES = all(importlib.util.find_spec(name) for name in ("matplotlib", "rich", "tqdm", "ml_dtypes"))
needs_packages = pytest.mark.skipif(not PACKAGES, reason="needs fastsoftmax[bench]")
SUITES = Path(__file__).parent.parent / "bench"
PNG = b"\x89PNG\r\n\x1a\n"
QUICK = ["--toy", "--rounds", "2", "--rivals", "none", "--no-sweeps", "--operation", "loss"]


def _bench(output, *options):
    return main(["bench", "--output", str(output), *options])


def _results(folder):
    return json.loads((folder / "results.json").read_text())


# ------------------------------------------------------------------------------------ contenders


def _suites(*arguments):
    """In a process of its own: JAX and OpenMP do not go with the forks of other tests."""
    command = [sys.executable, "-P", "-m", "pytest", *arguments, "--toy", "--benchmark-disable", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=SUITES.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.skipif(not SUITES.exists() or not importlib.util.find_spec("pytest_benchmark"), reason="needs the suites")
def test_every_contender_is_right_on_every_case():
    names = [r.name for r in rivals.all_rivals() if not r.compiles and (not r.ours or not r.absent)]
    _suites(str(SUITES), "--rivals", ",".join(names))


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_torch_compile_is_right_on_every_operation():
    _suites(str(SUITES / "bench_operations.py"), "--rivals", "torch-compile")


def test_every_named_case_is_in_a_suite():
    if not SUITES.exists():
        pytest.skip("the suites are not here")
    text = "".join(path.read_text() for path in SUITES.glob("bench_*.py"))
    assert all(f'"{name}"' in text or name == cases.DEFAULT_CASE for name in cases.CASES)


def test_contenders_are_chosen_by_name():
    assert [r.name for r in rivals.select("none")][-1] in ("cython", "numba", "numpy")
    assert not any(not r.ours for r in rivals.select("none"))
    assert {"indices", "one-hot"} <= {r.name for r in rivals.select("one-hot,indices")}
    assert "numpy" in {r.name for r in rivals.select("numpy")}
    with pytest.raises(session.CommandError, match="no rival quick; there are one-hot"):
        rivals.select("indices,quick")


def test_absent_contenders_say_why(monkeypatch):
    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(backends, "why_not", lambda name: "not built")
    absent = {r.name: r.absent for r in rivals.all_rivals()}
    assert absent["torch"] == "PyTorch is not installed" and absent["cython"] == "not built"
    assert [r.name for r in rivals.select("none")] == ["numpy", "numba", "cython"]


def test_contenders_say_what_they_cannot_do():
    found = {r.name: r for r in rivals.all_rivals()}
    loss, softmax = cases.OPERATIONS["loss"], cases.OPERATIONS["softmax"]
    assert "no bfloat16" in found["one-hot"].why_not(cases.CASES["large-bfloat16"], loss)
    assert "last axis" in found["one-hot"].why_not(cases.CASES["class-axis-first"], loss)
    assert "no softmax" in found["one-hot"].why_not(cases.CASES["large"], softmax)


def test_a_rival_that_fails_is_absent_and_ours_is_an_error(monkeypatch):
    case, operation, done = cases.CASES["large"].toy(), cases.OPERATIONS["loss"], {"entries": [], "absent": {}}

    def fails(*_):
        raise ArithmeticError("no sums today")

    monkeypatch.setattr(rivals.Rival, "load", lambda self: rivals.Contender({"loss": fails}))
    inputs = cases.make(case, operation)
    assert measure.set_up(done, inputs, [rivals.Rival("one-hot", "them", "")], lambda text: None) == {}
    assert done["absent"] == {"them": "it failed: ArithmeticError: no sums today"} and not done["entries"]
    with pytest.raises(ArithmeticError):
        measure.set_up(done, inputs, [rivals.Rival("cython", "us", "", ours=True)], lambda text: None)


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
def test_memory_sees_the_tables_of_the_textbook_and_none_of_ours():
    case, operations = cases.Case("wide", 64, 40_000), [cases.OPERATIONS["gradient-in-place"], cases.OPERATIONS["gradient"]]
    found = {r.name: r for r in rivals.all_rivals()}
    extra = memory.measure(found["one-hot"], case, operations)
    assert extra["gradient-in-place"][0] > 3 * case.n_bytes
    assert 0 < extra["gradient"][0] < extra["gradient-in-place"][0] - 0.9 * case.n_bytes  # the result was asked for
    for name in set(backends.available()) - {"numpy"}:
        assert max(sum(memory.measure(found[name], case, operations, (4_000, 40_000)).values(), [])) < 1 << 20


# ------------------------------------------------------------------------------ inputs and answers


@needs_packages
@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.parametrize("operation", cases.OPERATIONS.values(), ids=lambda o: o.name)
def test_inputs_have_the_shape_of_their_case(name, operation):
    case = cases.CASES[name].toy()
    inputs = cases.make(case, operation)
    assert inputs.x.shape == case.shape and inputs.x.dtype == cases.dtype_of(case.dtype)
    assert inputs.x.shape[case.axis] == case.n_classes and inputs.labels.size == case.n_rows
    assert inputs.x.nbytes == case.n_bytes and inputs.labels.max() < case.n_classes
    assert (inputs.out is not None) == operation.out and (inputs.second is not None) == (operation.second is not None)
    before = inputs.x.copy()
    inputs.x[...] = 0
    inputs.refresh()
    assert np.array_equal(inputs.x, before if operation.in_place else np.zeros_like(before))


@needs_packages
def test_named_cases_fit_into_a_gigabyte_or_two():
    for case in cases.CASES.values():
        most = max(2 + o.out + (o.second is not None) for o in cases.OPERATIONS.values())  # and the ceilings' two
        assert most * case.n_bytes + 2 * min(case.n_bytes, ceilings.MOST_BYTES) < 2.5e9
        assert case.n_bytes > 1.9e8 or case.name in ("one-row", "one-call", "large-bfloat16", "large-float16")


def test_tables_repeat_a_block_and_the_answers_know_it(monkeypatch):
    monkeypatch.setattr(cases, "BLOCK_LOGITS", 150)
    case = replace(cases.CASES["large"], n_rows=10, n_classes=50)
    inputs = cases.make(case, cases.OPERATIONS["loss"])
    assert len(inputs.blocks[0]) == 3 and np.array_equal(inputs.x[3:6], inputs.x[:3])
    x = inputs.x.astype(np.float64)
    loss = (np.log(np.exp(x).sum(1)) - x[np.arange(10), inputs.labels]).mean()
    assert abs(oracle.right(inputs).value - loss) < 1e-12


@needs_packages
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_ulps_are_the_spacing_of_numbers(dtype):
    values = np.array([1.0, 1.5, -3.0, 1e-3, 6e-8, 300.0]).astype(cases.dtype_of(dtype))
    spacing = np.abs(np.nextafter(values, np.array(np.inf, values.dtype)).astype(float) - values.astype(float))
    assert np.array_equal(oracle.ulp(values[values > 0].astype(float), dtype).astype(float), spacing[values > 0])


def test_the_oracle_finds_a_wrong_element():
    inputs = cases.make(cases.CASES["large"].toy(), cases.OPERATIONS["softmax"])
    right = oracle.right(inputs)
    table = np.exp(inputs.x - inputs.x.max(1, keepdims=True))
    table /= table.sum(1, keepdims=True)
    assert right.errors(None, table)["relative_error"] < 1e-5
    table[2, 7] *= 1.5
    assert 0.49 < right.errors(None, table)["relative_error"] < 0.51
    table[2, 7] = np.nan
    assert np.isnan(right.errors(None, table)["max_ulp"])


# --------------------------------------------------------------------------------- timing and ceilings


def test_rounds_are_interleaved_and_refreshed():
    seen = []
    timed = {name: rounds.Timed(lambda name=name: seen.append(name) or time.sleep(0.002), lambda: seen.append("fresh"))
             for name in "AB"}
    *_, taken = rounds.interleaved(timed, 3)
    assert "".join(seen).replace("fresh", ".") == ".A.A.A.B.B.B" + ".A.B" * 2  # one not timed, one to know how long
    assert {name: len(s) for name, s in taken.items()} == {"A": 3, "B": 3}
    assert all(0.002 < s < 1 for s in taken["A"])


def test_short_calls_are_repeated_within_a_timing():
    calls = []
    short = rounds.Timed(lambda: calls.append(1))
    short.seconds()
    assert len(calls) > 100
    for warm, expected in ((False, 2), (True, 1)):
        once = rounds.Timed(lambda: calls.append(1), repeats=False)
        once.warm = warm
        calls.clear()
        once.seconds()
        assert len(calls) == expected


def test_noise_is_called_by_its_name():
    quiet, noisy = rounds.summary([1.0] * 20), rounds.summary([1.0] * 10 + [2.0] * 10)
    assert quiet["spread"] == 0 and quiet["ms"] == 1000 and noisy["min_ms"] == 1000 and noisy["spread"] > 0.5
    assert rounds.noisy({"calm": quiet, "wild": noisy}) == ["wild"]
    assert rounds.distrust(15, {"loss": []}) is None
    assert "loss: wild" in rounds.distrust(15, {"loss": ["wild"]}) and "TRUST" in rounds.distrust(15, {"": ["wild"]})
    assert "indicative only" in rounds.distrust(14, {})


@pytest.mark.parametrize("missing", [(), ("cython",), ("cython", "numba")])
def test_ceilings_have_loops_whatever_is_built(monkeypatch, missing):
    why_not = backends.why_not
    monkeypatch.setattr(backends, "why_not", lambda name: "gone" if name in missing else why_not(name))
    loops = ceilings.Ceilings(1 << 20)
    *_, taken = rounds.interleaved(loops.timed(ceilings.BYTES), 2)
    assert set(taken) == {"read", "update", "copy"}
    assert all(0 < loops.gb_per_s(name, min(seconds)) < 1e4 for name, seconds in taken.items())
    if "cython" not in missing and not why_not("cython"):
        assert loops.how.startswith("compiled loops")


@pytest.mark.parametrize("missing", [(), ("cython",), ("cython", "numba")])
def test_passes_do_what_their_bytes_say(monkeypatch, missing):
    why_not = backends.why_not
    monkeypatch.setattr(backends, "why_not", lambda name: "gone" if name in missing else why_not(name))
    passes, _ = ceilings._passes()
    a, b = np.arange(1024, dtype=np.float32), np.zeros(1024, np.float32)
    passes["read"](a, b)
    assert not b.any() and np.array_equal(a, np.arange(1024))
    passes["copy"](a, b)
    assert np.array_equal(a, b)
    passes["update"](a, b)
    assert np.array_equal(a, np.arange(1024) + 1) and np.array_equal(b, np.arange(1024))


def test_a_ceiling_of_a_large_table_is_scaled(monkeypatch):
    monkeypatch.setattr(ceilings, "MOST_BYTES", 4_000)
    assert ceilings.Ceilings(16_000).scaled([1.0, 2.0]) == [4.0, 8.0]
    assert ceilings.Ceilings(2_000).scaled([1.0]) == [1.0]


def test_fma_peak_is_used_where_it_is_built(monkeypatch):
    class Built:
        @staticmethod
        def fma_pass(n):
            time.sleep(0.01)
            return 2 * n

    monkeypatch.setattr(ceilings, "_cython", lambda: Built)
    assert 0 < ceilings.fma_peak(2) < 1e4
    monkeypatch.setattr(ceilings, "_cython", lambda: None)
    assert ceilings.fma_peak() is None
    line = ceilings.describe({"read": 1.0, "update": 2.0, "copy": 3.0, "fma": 412.0, "how": "loops"})
    assert "read 1.0" in line and "412 GFLOP/s" in line


# ------------------------------------------------------------------------------------- the command


@needs_packages
def test_bench_writes_a_whole_report(tmp_path, capsys):
    names = "one-hot,indices" + (",scipy" if importlib.util.find_spec("scipy") else "")
    assert _bench(tmp_path, "--toy", "--rounds", "2", "--rivals", names, "--case", "large", "--case", "class-axis-first",
                  "--grid", "--markdown") == 0
    printed, results = capsys.readouterr().out, _results(tmp_path)
    assert results["status"] == "complete" and results["schema"] == compare.SCHEMA
    assert {"cpu", "cores", "caches", "python", "versions", "backend", "instruction_set", "threads",
            "date"} <= set(results["machine"])
    assert [c["name"] for c in results["cases"]] == ["large", "class-axis-first"]
    for case in results["cases"]:
        assert [o["name"] for o in case["operations"]] == list(cases.OPERATIONS)
        for o in case["operations"]:
            assert o["rounds"] == 2 and o["ceiling"]["gb_per_s"] > 0 and o["entries"]
            for e in o["entries"]:
                assert len(e["seconds"]) == 2 and 0 < e["min_ms"] <= e["ms"] and e["percent"] > 0 and e["ratio"] > 0
                assert e["extra_bytes"] >= 0 and 0 <= e["relative_error"] < 1e-4 and e["max_ulp"] >= 0
    assert set(results["sweeps"]) == {"classes", "threads", "dtypes", "first_call"}
    cells = results["grid"]["cells"]
    assert len(cells) == grid.n_cells(toy=True) and results["grid"]["worst"]["ratio"] == min(c["ratio"] for c in cells)
    markdown = (tmp_path / "report.md").read_text()
    for name, _, _ in plots.PICTURES:
        assert (tmp_path / name).read_bytes().startswith(PNG) and name in markdown
    for said in ("NumPy, one-hot", "% of ceiling", "softmax_grad", "class axis 1", "indicative only", "Worst of"):
        assert said in markdown and said in printed, said
    assert "Absent: NumPy, one-hot: it has no softmax." in printed.replace("\n", " ")


@needs_packages
def test_grid_alone_measures_no_case(tmp_path):
    assert _bench(tmp_path, "--toy", "--rounds", "1", "--rivals", "indices", "--grid") == 0
    assert _results(tmp_path)["cases"] == [] and _results(tmp_path)["grid"]["worst"]["rival"] == "NumPy, indices"


def test_list_names_everything(capsys):
    assert main(["bench", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*cases.CASES, *cases.OPERATIONS, *(r.name for r in rivals.all_rivals())))


@needs_packages
@pytest.mark.parametrize("arguments, said", [
    (["--case", "huge"], "no case huge; there are gpt2, large"), (["--operation", "sum"], "no operation sum; there are"),
    (["--rivals", "abacus"], "no rival abacus"), (["--compare", "none.json"], "cannot read none.json")])
def test_bad_names_are_one_line(tmp_path, capsys, arguments, said):
    assert _bench(tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--rounds", "--margin"])
def test_bad_numbers_stop_the_parser(capsys, option):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", option, "0"])
    assert stopped.value.code == 2 and option in capsys.readouterr().err


def test_missing_packages_are_one_line(monkeypatch, capsys):
    import fastsoftmax.bench

    monkeypatch.setattr(fastsoftmax.bench, "NEEDED", ("no_such_package",))
    assert main(["bench"]) == 2
    assert 'no_such_package not installed: pip install "fastsoftmax[bench]"' in capsys.readouterr().err


@needs_packages
def test_failure_leaves_a_report_too(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise MemoryError("no tables today")

    monkeypatch.setattr(measure, "run_operation", fails)
    with pytest.raises(MemoryError):
        _bench(tmp_path, *QUICK)
    assert _results(tmp_path)["status"] == "failed" and "failed" in (tmp_path / "report.md").read_text()


@needs_packages
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("moment", ["bandwidth", "fastsoftmax,"])
def test_ctrl_c_leaves_a_valid_report(tmp_path, moment):
    command = [sys.executable, "-P", "-m", "fastsoftmax", "bench", "--toy", "--rivals", "none", "--output",
               str(tmp_path / "out"), "--rounds", "5", *(["--case", "large"] * 200)]
    with open(tmp_path / "printed", "w+") as printed:
        child = subprocess.Popen(command, stdout=printed, stderr=printed)
        deadline = time.monotonic() + 60
        while moment not in (tmp_path / "printed").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130, (tmp_path / "printed").read_text()
    results = _results(tmp_path / "out")
    assert results["status"] == "interrupted" and "interrupted" in (tmp_path / "out" / "report.md").read_text()
    assert results["machine"]["cpu"] and not list((tmp_path / "out").glob("*.part"))
    if moment == "fastsoftmax,":
        assert results["cases"][0]["operations"][0]["entries"][0]["ms"] > 0


# --------------------------------------------------------------------------- regressions and the README


@pytest.fixture
def old(tmp_path):
    """A finished run, and write(factor) -> a results.json in which ours was that many times closer to the ceiling."""
    assert _bench(tmp_path / "old", *QUICK) == 0
    results = _results(tmp_path / "old")

    def write(factor):
        for entry in results["cases"][0]["operations"][0]["entries"]:
            entry["min_percent"] *= factor
        path = tmp_path / "doctored.json"
        path.write_text(json.dumps(results))
        return str(path)

    return write


@needs_packages
@pytest.mark.parametrize("factor, status", [(1e6, compare.REGRESSED), (1e-6, 0)])
def test_compare_ends_with_one_on_a_regression(old, tmp_path, capsys, factor, status):
    assert _bench(tmp_path / "new", *QUICK, "--compare", old(factor)) == status
    printed = capsys.readouterr().out
    assert ("slower than before by more than 10%" in printed) and ("of the ceiling, was" in printed) == bool(status)


@needs_packages
def test_compare_refuses_what_has_nothing_in_common(old, tmp_path, capsys):
    assert _bench(tmp_path / "new", *QUICK[:-1], "logsumexp", "--compare", old(1)) == 2
    assert "no timing of fastsoftmax in common" in capsys.readouterr().err
    (tmp_path / "other.json").write_text('{"schema": 0}')
    assert _bench(tmp_path / "new", *QUICK, "--compare", str(tmp_path / "other.json")) == 2
    assert "not a results.json" in capsys.readouterr().err


def test_margin_is_what_it_says():
    def results(percent):
        entry = {"label": "ours", "ours": True, "min_percent": percent}
        return {"cases": [{"name": "c", "description": "d", "operations": [{"label": "loss", "entries": [entry]}]}]}

    assert [row[-1] for row in compare.compare(results(90), results(82.5), 10)] == [False]
    assert [row[-1] for row in compare.compare(results(90), results(81), 10)] == [True]
    assert "1 of 1 timings" in compare.describe(compare.compare(results(90), results(81), 10), 10)


@needs_packages
def test_readme_is_rewritten_between_its_marks(tmp_path, capsys):
    run, text = tmp_path / "run", tmp_path / "README.md"
    assert _bench(run, *QUICK) == 0
    text.write_text("before\n<!-- bench:begin -->\nold figures\n<!-- bench:end -->\nafter\n")
    assert readme.main([str(run), str(text)]) == 0
    first = text.read_text()
    assert first.startswith("before\n") and first.endswith("<!-- bench:end -->\nafter\n") and "old figures" not in first
    assert "| loss |" in first and "![Useful bandwidth against the ceiling](docs/images/roofline.png)" in first
    assert (tmp_path / "docs" / "images" / "roofline.png").read_bytes().startswith(PNG)
    assert report.summary_markdown(_results(run)) in first
    assert readme.main([str(run), str(text)]) == 0 and text.read_text() == first
    text.write_text("no marks")
    assert readme.main([str(run), str(text)]) == 2 and "<!-- bench:begin -->" in capsys.readouterr().err
    assert text.read_text() == "no marks"
    assert readme.main([str(tmp_path), str(text)]) == 2 and readme.main([str(run), str(tmp_path / "none.md")]) == 2
    (run / "results.json").write_text(json.dumps(_results(run) | {"status": "interrupted"}))
    assert readme.main([str(run), str(text)]) == 2 and "interrupted" in capsys.readouterr().err


def _judged(entries, **more):
    case = {"name": "large", "operations": [{"name": "loss", "entries": entries}]}
    return {t["text"]: t for t in targets.judge({"cases": [case]} | more)}


def test_targets_are_judged_where_they_were_measured():
    cython, torch = {"name": "cython", "percent": 91.0, "ratio": 1.0}, {"name": "torch", "percent": 5.0, "ratio": 9.0}
    judged = _judged([cython, torch])
    assert judged["Cython, loss: share of the ceiling"] == {
        "text": "Cython, loss: share of the ceiling", "wanted": "at least 0.90", "measured": "0.91", "met": True}
    assert not judged["PyTorch, loss: times our time"]["met"] and len(judged) == 2
    assert not _judged([cython | {"percent": 80.0}])["Cython, loss: share of the ceiling"]["met"]
    lower = {"machine": {"instruction_set": "x86-64-v3"}}
    assert _judged([cython | {"percent": 80.0}], **lower)["Cython, loss: share of the ceiling"]["met"]
    assert _judged([torch]) == {} and _judged([cython], options={"toy": True}) == {}


def test_targets_of_the_sweeps():
    def entry(dtype, ms):
        return {"name": "cython", "dtype": dtype, "ms": ms}

    sweeps = {"dtypes": {"operations": [{"name": "loss", "entries": [
                  entry("float32", 10), entry("bfloat16", 5), entry("float64", 30)]}]},
              "threads": {"threads": [1, 2], "lines": {"fastsoftmax, Cython, loss, one row": {"ms": [1.0, 0.5]}}},
              "first_call": {"fastsoftmax, Numba": 0.7}}
    judged = {t["text"]: t["met"] for t in targets.judge({"sweeps": sweeps, "grid": {"worst": {"ratio": 1.3}}})}
    assert list(judged.values()) == [True, False, True, False, True]


def test_stamp_has_no_place_of_this_machine():
    stamp = json.dumps(machine.stamp())
    assert os.uname().nodename not in stamp and os.path.expanduser("~") not in stamp


def test_the_shared_session_writes_after_everything():
    for raised, status in ((None, "complete"), (KeyboardInterrupt, "interrupted"), (ArithmeticError, "failed")):
        results, written = {}, []

        def steps(stop, raised=raised):
            if raised:
                raise raised

        with contextlib.suppress(ArithmeticError):
            code = session.run(results, steps, lambda results=results, w=written: w.append(results["status"]))
            assert code == (0 if raised is None else session.INTERRUPTED)
        assert written == [status] == [results["status"]]
