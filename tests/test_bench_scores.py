"""The report on scores and targets at toy size: what it measures, how it judges, how it ends."""

import pytest

from fastsoftmax import backends
from fastsoftmax.bench import scores


@pytest.mark.parametrize("backend", backends.available())
def test_scores_are_measured_and_saved(backend, tmp_path, capsys):
    page = tmp_path / "scores.md"
    status = scores.main(["--size", "3,300", "--rounds", "1", "--backend", backend, "--output", str(page)])
    text = page.read_text()
    assert text in capsys.readouterr().out and "3 x 300 float32, 1 interleaved rounds" in text
    assert f"ratios), {backend} backend" in text
    assert status == (scores.MISSED if "**missed**" in text else 0)
    for name in scores.contenders(2, 20, 0):
        assert f"| {name} | " in text


def test_figures_are_judged_by_their_sense():
    alike = {name: {"seconds": [1.0, 2.0, 9.0]} for figure in scores.FIGURES for name in figure[:2]}
    met = [sense == "at most" or bound <= 1 for *_, sense, bound in scores.FIGURES]
    assert [judged[-1] for judged in scores.judge(alike)] == met
    slow = alike | {"hvp": {"seconds": [2.0, 4.0, 9.0]}, "score, top_k=10": {"seconds": [1.3, 2.6, 99.0]}}
    judged = {text: (figure, met) for text, figure, _, met in scores.judge(slow)}
    assert judged["ceiling of 12 bytes: time over that of hvp"] == (0.5, False)
    assert judged["score, top_k=10: time over that of loss"] == (pytest.approx(1.3), True)


def test_bad_sizes_are_refused(capsys):
    with pytest.raises(SystemExit):
        scores.main(["--size", "3"])
    assert "two positive numbers" in capsys.readouterr().err
