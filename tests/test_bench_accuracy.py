"""The accuracy report at toy size: what it measures, what it finds wrong, how it ends."""

import importlib.util
import json

import numpy as np
import pytest

from fastsoftmax import backends
from fastsoftmax.bench import accuracy, readme, ulps

needs_packages = pytest.mark.skipif(not importlib.util.find_spec("ml_dtypes"), reason="needs fastsoftmax[bench]")


@needs_packages
def test_accuracy_is_measured_saved_and_as_promised(tmp_path, capsys):
    assert accuracy.main(["--toy", "--output", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "accuracy.json").read_text())
    text = (tmp_path / "accuracy.md").read_text()
    assert text in capsys.readouterr().out and "Every target is met." in text and results["missed"] == []
    judged = {row["contender"] for row in results["figures"]}
    assert {f"fastsoftmax, {name}" for name in backends.available()} <= judged
    assert ("PyTorch" in judged) == bool(importlib.util.find_spec("torch"))
    assert {row["offset"] for row in results["figures"]} == set(accuracy.OFFSETS)
    assert {one["backend"] for one in results["ulps"]} == set(backends.available())
    for one in results["ulps"]:
        for dtype, errors in one["dtypes"].items():
            assert len(errors) == 11 and all(np.isfinite(e).all() for e in errors.values()), (one, dtype)
        for dtype in ("bfloat16", "float16"):
            assert one["dtypes"][dtype]["softmax_rows"][0] < 0.51  # rounding alone
    readme_text = tmp_path / "accuracy-page.md"
    readme_text.write_text("<!-- accuracy:begin -->\n<!-- accuracy:end -->\n")
    assert readme.main([str(tmp_path), str(readme_text)]) == 0 and "softmax_rows" in readme_text.read_text()


@needs_packages
def test_a_missed_target_is_named_and_ends_with_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(accuracy, "FIGURES", (accuracy.Figure("loss", "loss, relative", 1e-20), *accuracy.FIGURES[1:]))
    monkeypatch.setattr(ulps, "measure_all", lambda toy, tell: [])
    assert accuracy.main(["--toy", "--output", str(tmp_path)]) == accuracy.MISSED
    printed = capsys.readouterr().out
    assert "MISSED" in printed and "numpy: loss, relative is" in printed and "PyTorch: loss" not in printed


def test_nan_keeps_no_promise():
    row = {"contender": "fastsoftmax, cython"} | {f.name: 0.0 for f in accuracy.FIGURES}
    assert accuracy.missed([row]) == []
    assert len(accuracy.missed([row, row | {"softmax": float("nan")}])) == 1
    assert accuracy.missed([row | {"contender": "PyTorch", "loss": 1.0}]) == []


def test_figures_see_an_error_of_one_part_in_a_million():
    logits = np.random.default_rng(0).standard_normal((4, 50)).astype(np.float32)
    labels = np.arange(4)
    right = accuracy._Right(logits, labels)
    exact = [a.astype(np.float64) for a in (right.losses, right.lse, right.probs, right.gradient)]
    assert max(right.errors(*exact).values()) < 1e-8
    exact[2][1, 3] *= 1 + 1e-6 * float(right.depth[1, 3])
    assert abs(right.errors(*exact)["softmax"] - 1e-6) < 1e-9


@needs_packages
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_tables_are_dense_and_adversarial(dtype):
    tables = ulps.tables(dtype)
    assert {table.shape[1] for table in tables} >= set(ulps.SIZES)
    assert all(table.dtype.name == dtype and np.isfinite(table.astype(float).max(1)).all() for table in tables)
    assert any(np.isneginf(table.astype(float)).any() for table in tables)


def test_an_instruction_set_that_fails_is_an_error(monkeypatch):
    monkeypatch.setattr(ulps, "INSTRUCTION_SETS", ("no-such-set",))
    monkeypatch.setattr(backends, "available", lambda: ["cython"])
    with pytest.raises(RuntimeError, match="no-such-set"):
        ulps.measure_all(toy=True, tell=lambda text: None)
