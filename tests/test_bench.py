"""The benchmark's command at toy size: the report, regressions, Ctrl-C, the README's part, the promises."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import fastsoftmax.bench
from fastsoftmax.bench import cases, compare, grid, machine, measure, plots, readme, report, rivals, session, targets
from fastsoftmax.cli import main

PACKAGES = all(importlib.util.find_spec(name) for name in ("matplotlib", "rich", "tqdm", "ml_dtypes"))
needs_packages = pytest.mark.skipif(not PACKAGES, reason="needs fastsoftmax[bench]")
PNG = b"\x89PNG\r\n\x1a\n"
QUICK = ["--toy", "--rounds", "2", "--rivals", "none", "--no-sweeps", "--operation", "loss"]


def _bench(output, *options):
    return main(["bench", "--output", str(output), *options])


def _results(folder):
    return json.loads((folder / "results.json").read_text())


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
    assert set(results["sweeps"]) == {"classes", "threads", "dtypes", "small_call", "first_call"}
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


@needs_packages
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
    assert "| loss |" in first and report.summary_markdown(_results(run), whole=False) in first
    whole = (tmp_path / "docs" / "speed.md").read_text()
    assert report.summary_markdown(_results(run)) in whole
    assert "![Useful bandwidth against the ceiling](images/roofline.png)" in whole
    assert (tmp_path / "docs" / "images" / "roofline.png").read_bytes().startswith(PNG)
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
              "first_call": {"fastsoftmax, Numba": 0.7},
              "small_call": {"lines": {"fastsoftmax, Cython": {"loss": 2.0, "softmax": 7.0}}}}
    judged = {t["text"]: t["met"] for t in targets.judge({"sweeps": sweeps, "grid": {"worst": {"ratio": 1.3}}})}
    assert list(judged.values()) == [True, False, True, False, False, True]


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
