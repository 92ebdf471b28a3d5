"""The report on optimizers at toy size: who takes part, and what it says."""

import pytest

from fastsoftmax import backends
from fastsoftmax.bench import optimizers


def test_optimizers_are_measured_and_saved(every_backend, tmp_path, capsys):
    page = tmp_path / "optimizers.md"
    assert optimizers.main(["--size", "30,8", "--rounds", "1", "--output", str(page)]) == 0
    text = page.read_text()
    assert text in capsys.readouterr().out and "30 x 8 float32, 1 interleaved rounds" in text
    for rule in optimizers.RULES:
        table = text.split(f"## {rule}\n")[1].split("##")[0]
        assert "| ceiling | " in table and table.count("100 %") >= 1
        assert [f"| fastsoftmax, {name} | " in table for name in backends.available()] == [True] * len(every_backend)
    layer = text.split("## 256 x 8 x 30, loss, gradients and Adam\n")[1]
    assert f"| {optimizers.TILES} | " in layer and f"| {optimizers.IN_FULL} | " in layer and "indicative only" in layer


def test_against_torch():
    pytest.importorskip("torch")
    assert optimizers.TORCH in optimizers.updates("Adam", (5, 3), 0)
    optimizers.layer_steps((7, 3), 0)[optimizers.TORCH_LAYER].run()


def test_bad_sizes_are_refused(capsys):
    with pytest.raises(SystemExit):
        optimizers.main(["--size", "3"])
    assert "two positive numbers" in capsys.readouterr().err
