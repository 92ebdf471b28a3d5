"""bench.scaling at toy size: what it prints, what it takes for a difference, what it refuses."""

import itertools

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.bench import scaling


def test_the_report(tmp_path, capsys):
    out = tmp_path / "scaling.md"
    argv = ["--size", "8,300", "--threads", "1,2", "--rounds", "2", "--output", str(out)]
    assert scaling.main(argv) == 0
    text = out.read_text()
    assert text in capsys.readouterr().out
    for line in ("| what | 1 thread | 2 threads | times faster | of a pass |", "| loss |", "| pass: copy |",
                 "number of threads: none.", "2 rounds are fewer than 15"):
        assert line in text


def test_bits_that_differ_are_found():
    numbers = itertools.count()
    same, other = (lambda: np.ones(3)), (lambda: (np.ones(2), None, float(next(numbers))))
    assert scaling.differing({"same": same, "other": other}, (1, 2)) == ["other"]


def test_each_call_gives_what_it_says_at_any_time():
    _, calls = scaling.operations(3, 50, 0)
    for call in calls.values():
        assert scaling.bits(call()) == scaling.bits(call())
    assert fs.get_num_threads() >= 1


def test_powers_of_two():
    assert [scaling.powers_of_two(n) for n in (1, 2, 3, 16, 24)] == [
        [1], [1, 2], [1, 2, 3], [1, 2, 4, 8, 16], [1, 2, 4, 8, 16, 24]]


@pytest.mark.parametrize("argv", [["--size", "3"], ["--size", "0,3"], ["--threads", "0"], ["--rounds", "0"]])
def test_bad_arguments(argv, capsys):
    with pytest.raises(SystemExit):
        scaling.main(argv)
    assert "must be at least 1" in capsys.readouterr().err
