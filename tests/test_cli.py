"""The command line: options, variables, errors and exit statuses."""

import subprocess
import sys

import pytest

from fastsoftmax import cli, demo


def _options(monkeypatch, *arguments):
    seen = []
    monkeypatch.setattr(demo, "run", lambda options: seen.append(options) or 0)
    assert cli.main(["demo", *arguments]) == 0
    return seen[0]


def test_defaults(monkeypatch):
    for name, *_ in cli.OPTIONS:
        monkeypatch.delenv(cli._variable(name), raising=False)
    options = _options(monkeypatch)
    assert (options.seconds, options.vocabulary, options.rows, options.classes) == (60.0, 100_000, 512, 100_000)
    assert options.corpus is None and options.output == "fastsoftmax-demo" and options.seed == 0


def test_variables_set_defaults_and_options_win(monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_DEMO_SECONDS", "2.5")
    monkeypatch.setenv("FASTSOFTMAX_DEMO_ROWS", "7")
    options = _options(monkeypatch, "--rows", "9")
    assert (options.seconds, options.rows) == (2.5, 9)


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan", "inf"])
def test_bad_numbers_are_named(monkeypatch, capsys, value):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", "--seconds", value])
    assert stopped.value.code == 2 and "--seconds" in capsys.readouterr().err
    monkeypatch.setenv("FASTSOFTMAX_DEMO_ROUNDS", value)
    with pytest.raises(SystemExit):
        cli.main(["demo"])
    assert "--rounds" in capsys.readouterr().err


def test_help_names_the_variables(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", "--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0 and all(cli._variable(name) in printed for name, *_ in cli.OPTIONS)


def test_missing_packages_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(demo, "NEEDED", ("no_such_package",))
    assert cli.main(["demo"]) == 2
    assert 'pip install "fastsoftmax[demo]"' in capsys.readouterr().err


def test_missing_corpus_file_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo, "NEEDED", ())
    assert cli.main(["demo", "--corpus", str(tmp_path / "none.txt"), "--output", str(tmp_path / "out")]) == 2
    assert "none.txt" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_ctrl_c_is_130(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert cli.main(["demo"]) == 130


def test_module_runs_info():
    done = subprocess.run([sys.executable, "-P", "-m", "fastsoftmax", "info"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "backend:" in done.stdout and "GB/s" in done.stdout
