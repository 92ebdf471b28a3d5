"""The parts of the benchmark at toy size: every case and rival, inputs and their answers, rounds, ceilings."""

import gc
import importlib.util
import os
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax import backends, threads
from fastsoftmax.bench import cases, ceilings, measure, memory, oracle, rivals, rounds, session

needs_ml_dtypes = pytest.mark.skipif(not importlib.util.find_spec("ml_dtypes"), reason="needs fastsoftmax[bench]")
SUITES = Path(__file__).parent.parent / "bench"


def _suites(*arguments):
    """In a process of its own: JAX and OpenMP do not go with the forks of other tests."""
    command = [sys.executable, "-P", "-m", "pytest", *arguments, "--toy", "--benchmark-disable", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=SUITES.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.skipif(not importlib.util.find_spec("pytest_benchmark"), reason="pytest-benchmark is not installed")
def test_every_contender_is_right_on_every_case():
    names = [r.name for r in rivals.all_rivals() if not r.compiles and (not r.ours or not r.absent)]
    _suites(str(SUITES), "--rivals", ",".join(names))


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_torch_compile_is_right_on_every_operation():
    _suites(str(SUITES / "bench_operations.py"), "--rivals", "torch-compile")


def test_every_named_case_is_in_a_suite():
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


@needs_ml_dtypes
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


def test_rows_of_a_case_that_is_sure_have_a_class_of_nearly_all_the_mass():
    inputs = cases.make(replace(cases.CASES["gpt2-sure"], n_rows=5), cases.OPERATIONS["softmax"])
    p = np.exp(inputs.x - inputs.x.max(1, keepdims=True), dtype=np.float64)
    assert ((p / p.sum(1, keepdims=True)).max(1) > 0.99).all()


@pytest.mark.parametrize("rival", [r for r in rivals.all_rivals() if not r.absent and (r.ours or r.name == "indices")],
                         ids=lambda r: r.name)
def test_a_call_lets_its_tables_go(rival):
    """As soon as it goes itself: a cell of the grid holds gigabytes."""
    inputs = cases.make(cases.CASES["large"].toy(), cases.OPERATIONS["gradient-in-place"])
    call = rivals.Call(rival, inputs)
    call.result(), call.seconds()
    table = weakref.ref(inputs.x)
    gc.collect()
    gc.disable()
    try:
        del call, inputs
        assert table() is None
    finally:
        gc.enable()


@needs_ml_dtypes
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


@needs_ml_dtypes
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
    for one in timed.values():
        one.settle = 0.0
    *_, taken = rounds.interleaved(timed, 3)
    seen = "".join(seen).replace("fresh", ".")
    assert sorted([seen[:4], seen[4:8]]) == [".A.A", ".B.B"]  # the first not timed
    assert all(sorted(seen[k:k + 4]) == [".", ".", "A", "B"] for k in (8, 12)) and len(seen) == 16
    assert {name: len(s) for name, s in taken.items()} == {"A": 3, "B": 3}
    assert all(0.002 < s < 1 for s in taken["A"])


def test_rounds_differ_in_their_order_but_not_from_run_to_run():
    def order():
        seen = []
        timed = {name: rounds.Timed(lambda name=name: seen.append(name), repeats=False) for name in "ABCD"}
        for one in timed.values():
            one.warm = True
        for _ in rounds.interleaved(timed, 6):
            pass
        return ["".join(seen[k:k + 4]) for k in range(0, 24, 4)]

    first = order()
    assert first == order() and len(set(first)) > 3 and all(sorted(r) == list("ABCD") for r in first)


def test_short_calls_settle_before_a_timing():
    seen = []
    short = rounds.Timed(lambda: seen.append(1) or time.sleep(0.002), lambda: seen.append("fresh"))
    short.warm, short.settle = True, 0.01
    assert short.seconds() < 0.01 and seen[0] == "fresh" and 2 < len(seen) < 8  # some unseen, then the one
    long = rounds.Timed(lambda: seen.append(1) or time.sleep(0.002), lambda: seen.append("fresh"))
    long.warm, long.settle = True, 0.001
    for expected in (["fresh", 1, 1], ["fresh", 1]):  # what is longer itself is found out once
        seen.clear()
        long.seconds()
        assert seen == expected


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


@pytest.mark.skipif(backends.why_not("cython") is not None, reason="no compiler: the loop for it is not built")
def test_fma_peak_is_one_that_a_processor_can_have():
    peak = ceilings.fma_peak()
    assert 1 < peak < 1_000 * threads.get_num_threads()  # 2 units x 16 lanes x 2 operations x 6 GHz is 384 a core


def test_ceilings_are_described_in_a_line():
    line = ceilings.describe({"read": 1.0, "update": 2.0, "copy": 3.0, "fma": 412.0, "how": "loops"})
    assert "read 1.0" in line and "412 GFLOP/s" in line
