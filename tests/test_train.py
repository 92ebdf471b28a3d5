"""`fastsoftmax train` and `fastsoftmax generate` at toy size: checkpoints, killed and resumed runs, refusals."""

import importlib.util
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import cli
from fastsoftmax.bench.session import CommandError
from fastsoftmax.train import LEARNING_RATES, checkpoint, corpus, generate, loop, model

PACKAGES = all(importlib.util.find_spec(name) for name in ("matplotlib", "tqdm"))
needs_packages = pytest.mark.skipif(not PACKAGES, reason="needs fastsoftmax[demo]")
SMALL = {"vocabulary": 50, "width": 6, "embedding": 4, "batch": 32, "context": 2}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file of text in which the word before tells the next."""
    rng = np.random.default_rng(0)
    follows, word, words = rng.permutation(60), 0, []
    for _ in range(6_000):
        word = int(follows[word]) if rng.random() < 0.9 else int(rng.integers(60))
        words.append(f"w{word}")
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(words))
    return path


def _arguments(text, folder, *flags, **options):
    options = SMALL | {"corpus": text, "checkpoint": folder} | options
    return ["train", *flags, *(part for name, value in options.items()
                               for part in (f"--{name.replace('_', '-')}", str(value)))]


def _train(*arguments, **options):
    return cli.main(_arguments(*arguments, **options))


def _arrays(folder):
    with np.load(folder / checkpoint.NAME, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _same(a, b):
    """All but the time that the runs took."""
    a, b = _arrays(a), _arrays(b)
    assert a.keys() == b.keys()
    for name in a.keys() - {"history"}:
        assert a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes(), name


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    """The folder of a run of 300 steps."""
    if not PACKAGES:
        pytest.skip("needs fastsoftmax[demo]")
    folder = tmp_path_factory.mktemp("trained")
    assert _train(text, folder, steps=300) == 0
    return folder


def test_a_whole_run(trained, capsys):
    results = json.loads((trained / "results.json").read_text())
    training = results["training"]
    assert results["status"] == "complete" and training["steps"] == 300 and training["words"] == 300 * 32
    assert training["held_out_perplexity"] < 0.9 * training["unigram_perplexity"]
    assert training["checks"]["perplexity"][0] == pytest.approx(training["unigram_perplexity"], rel=1e-5)
    assert "unigram" in (trained / "report.md").read_text()
    assert (trained / "training.png").read_bytes().startswith(b"\x89PNG")
    assert not list(trained.glob("*.part"))


@needs_packages
@pytest.mark.parametrize("optimizer", LEARNING_RATES)
def test_a_resumed_run_is_an_uninterrupted_one_to_the_bit(text, tmp_path, optimizer):
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert _train(text, once, steps=40, optimizer=optimizer) == 0
    for flags, steps in (((), 13), (("--resume",), 29), (("--resume",), 40)):
        assert _train(text, twice, *flags, steps=steps, optimizer=optimizer) == 0
    _same(once, twice)
    curves = [json.loads((folder / "results.json").read_text())["training"]["curve"]["words"] for folder in (once, twice)]
    assert curves[0] == curves[1] == [32 * i for i in range(1, 41)]


@needs_packages
@pytest.mark.parametrize("optimizer", LEARNING_RATES)
def test_every_optimizer_beats_the_unigram(text, tmp_path, optimizer):
    assert _train(text, tmp_path, steps=500, optimizer=optimizer) == 0
    training = json.loads((tmp_path / "results.json").read_text())["training"]
    assert training["held_out_perplexity"] < 0.95 * training["unigram_perplexity"]


def _start(arguments, folder, n_steps):
    """A process that trains, once its checkpoint holds so many steps."""
    child = subprocess.Popen([sys.executable, "-P", "-m", "fastsoftmax", *arguments],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        if (folder / checkpoint.NAME).exists() and _arrays(folder)["n_steps"] >= n_steps:
            break
    assert child.poll() is None
    return child


@needs_packages
def test_a_killed_run_goes_on_from_its_last_checkpoint(text, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    child = _start(_arguments(text, killed, steps=10**9, checkpoint_every=0.1), killed, 5)
    child.kill()
    child.wait(30)
    steps = int(_arrays(killed)["n_steps"]) + 20
    assert _train(text, killed, "--resume", steps=steps) == 0
    assert _train(text, whole, steps=steps) == 0
    _same(killed, whole)


@needs_packages
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_a_checkpoint_and_a_report(text, tmp_path):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    child = _start(_arguments(text, stopped, steps=10**9, checkpoint_every=0.1), stopped, 5)
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    training = json.loads((stopped / "results.json").read_text())["training"]
    assert training["steps"] == _arrays(stopped)["n_steps"] and "interrupted" in (stopped / "report.md").read_text()
    steps = training["steps"] + 5
    assert _train(text, stopped, "--resume", steps=steps) == _train(text, whole, steps=steps) == 0
    _same(stopped, whole)


def _refused(capsys, *arguments, **options):
    capsys.readouterr()
    assert cli.main(*arguments, **options) == 2
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("fastsoftmax ")]
    assert len(lines) == 1 and "Traceback" not in said
    return lines[0]


def test_resuming_with_other_options_is_refused(text, trained, tmp_path, capsys):
    before = (trained / checkpoint.NAME).read_bytes(), (trained / "report.md").read_text()
    assert "made with --width 6, not 7" in _refused(capsys, _arguments(text, trained, "--resume", width=7))
    assert "--learning-rate 0.1, not 0.2" in _refused(capsys, _arguments(text, trained, "--resume", learning_rate=0.2))
    assert "--vocabulary" in _refused(capsys, _arguments(text, trained, "--resume", vocabulary=40))
    other = tmp_path / "other.txt"
    other.write_text(text.read_text().replace("w3 w", "w4 w"))
    assert "another --corpus" in _refused(capsys, _arguments(other, trained, "--resume"))
    assert "--resume" in _refused(capsys, _arguments(text, trained))
    assert "nothing to resume" in _refused(capsys, _arguments(text, tmp_path / "none", "--resume"))
    assert before == ((trained / checkpoint.NAME).read_bytes(), (trained / "report.md").read_text())


@needs_packages
def test_a_learning_rate_that_diverges_keeps_the_checkpoint_before(text, tmp_path, capsys):
    said = _refused(capsys, _arguments(text, tmp_path, optimizer="sgd", learning_rate=1e11, steps=1000))
    assert "learning rate of 1e+11 is too high" in said
    assert checkpoint.read(tmp_path).training["steps"] == 0


@pytest.mark.parametrize("option, value", [("steps", 0), ("seconds", "nan"), ("width", -1), ("context", "two"),
                                           ("seed", -1), ("optimizer", "newton"), ("checkpoint_every", 0), ("batch", 1.5)])
def test_bad_options_are_named(text, tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as stopped:
        _train(text, tmp_path, **{option: value})
    assert stopped.value.code == 2 and "--" + option.replace("_", "-") in capsys.readouterr().err


@needs_packages
def test_what_only_the_text_tells_is_named_too(text, tmp_path, capsys):
    assert "context of 5000 words is too long" in _refused(capsys, _arguments(text, tmp_path, context=5000))
    assert "none.txt" in _refused(capsys, _arguments(tmp_path / "none.txt", tmp_path))


class _Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def _saved(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _json(value):
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _changed(arrays):
    """(what, contents) of files that must be refused: whole archives of which one array is wrong."""
    options, history = (json.loads(arrays[name].tobytes()) for name in ("options", "history"))
    rng = json.loads(arrays["rng"].tobytes())
    nan, huge = arrays["parameter.bias"].copy(), np.zeros((1 << 10, 1), np.float32)
    nan[3] = np.nan
    yield "a later format", arrays | {"format_version": np.int64(2)}
    yield "objects", arrays | {"options": np.array([_Harmful()], dtype=object)}
    yield "NaN", arrays | {"parameter.bias": nan}
    yield "another shape", arrays | {"parameter.embedding": huge}
    yield "another dtype", arrays | {"parameter.bias": nan.astype(np.float64)}
    yield "an array too few", {name: a for name, a in arrays.items() if name != "optimizer.hidden.sum"}
    yield "other steps", arrays | {"n_steps": np.int64(7)}
    yield "negative steps", arrays | {"n_steps": np.int64(-1)}
    yield "options of other types", arrays | {"options": _json(options | {"context": "2"})}
    yield "an unknown option", arrays | {"options": _json(options | {"colour": "2"})}
    yield "no embedding", arrays | {"options": _json(options | {"embedding": 0})}
    yield "an unknown optimizer", arrays | {"options": _json(options | {"optimizer": "newton"})}
    yield "options that are a list", arrays | {"options": _json([1, 2])}
    yield "deep JSON", arrays | {"options": np.frombuffer(b"[" * 100_000, np.uint8)}
    yield "no JSON", arrays | {"rng": np.frombuffer(b"{", np.uint8)}
    yield "a bad generator", arrays | {"rng": _json(rng | {"bit_generator": "MT19937"})}
    yield "a huge generator", arrays | {"rng": _json(rng | {"state": {"state": 1 << 200, "inc": 1}})}
    yield "text in the history", arrays | {"history": _json(history | {"seconds": "long"})}
    yield "a bad curve", arrays | {"history": _json(history | {"curve": {"words": [1], "seconds": [], "loss": ["1"]}})}
    yield "words twice", arrays | {"vocabulary": np.frombuffer(b"<unknown>\n<end>\na\na", np.uint8)}
    yield "control characters", arrays | {"vocabulary": np.frombuffer(b"<unknown>\n<end>\na\x1b[2J", np.uint8)}
    yield "no UTF-8", arrays | {"vocabulary": np.frombuffer(b"<unknown>\n<end>\n\xff", np.uint8)}


def test_foreign_and_harmful_files_are_refused_in_one_line(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "strange.npz"
    whole = (trained / checkpoint.NAME).read_bytes()
    contents = [("empty", b""), ("text", b"hello"), ("a pickle", pickle.dumps(_Harmful())),
                ("half", whole[:len(whole) // 2]), ("the other half", whole[len(whole) // 2:]),
                ("an archive of nothing", _saved({}))]
    file = io.BytesIO()
    np.save(file, np.array([_Harmful()], dtype=object), allow_pickle=True)
    contents.append(("a pickle in .npy", file.getvalue()))
    contents += [(what, _saved(arrays)) for what, arrays in _changed(_arrays(trained))]
    for what, content in contents:
        path.write_bytes(content)
        said = _refused(capsys, ["generate", str(path)])
        assert "is not a whole checkpoint" in said and str(path) in said and len(said) < 400, what
    assert not (tmp_path / "harmed").exists()
    assert "No such file" in _refused(capsys, ["generate", str(tmp_path / "none.npz")])
    path.write_bytes(_saved(_arrays(trained) | {"format_version": np.int64(2)}))
    assert "format is 2, and this fastsoftmax reads 1" in _refused(capsys, ["generate", str(path)])


def test_a_header_that_claims_too_much_allocates_nothing(trained, tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (10**15,), "fortran_order": False, "descr": "<f4"})
    for compression, content in ((zipfile.ZIP_STORED, header.getvalue()), (zipfile.ZIP_DEFLATED, bytes(1 << 24))):
        with zipfile.ZipFile(tmp_path / "bomb.npz", "w", compression) as archive:
            archive.writestr("parameter.bias.npy", content)
        with pytest.raises(CommandError, match="cut short|compressed"):
            checkpoint.read(tmp_path / "bomb.npz")


def test_no_damaged_byte_goes_unnoticed_or_ends_in_a_traceback(trained, tmp_path):
    path, rng = tmp_path / "damaged.npz", np.random.default_rng(0)
    whole, arrays = (trained / checkpoint.NAME).read_bytes(), _arrays(trained)
    refused = 0
    for where in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[where] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = checkpoint.read(path)
        except CommandError:
            refused += 1
        else:  # a date, or what else of the archive has no meaning
            for name, values in found.model.parameters().items():
                np.testing.assert_array_equal(values, arrays["parameter." + name])
    assert refused > 120


@needs_packages
def test_a_full_disk_is_one_line_and_keeps_the_old_checkpoint(text, trained, tmp_path, monkeypatch, capsys):
    (tmp_path / checkpoint.NAME).write_bytes(before := (trained / checkpoint.NAME).read_bytes())

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.np, "savez", full)
    said = _refused(capsys, _arguments(text, tmp_path, "--resume", steps=310))
    assert "No space left" in said and (tmp_path / checkpoint.NAME).read_bytes() == before
    assert not (tmp_path / (checkpoint.NAME + ".part")).exists()


def test_generate_prints_words_of_the_text(trained, capsys):
    def printed(*options):
        capsys.readouterr()
        assert cli.main(["generate", str(trained), "--words", "40", *options]) == 0
        return capsys.readouterr().out

    first = printed("--prompt", "W1 w2")
    assert first.startswith("w1 w2") and set(first.split()) <= {f"w{i}" for i in range(60)}
    assert first == printed("--prompt", "W1 w2") != printed("--prompt", "W1 w2", "--seed", "1")
    greedy = printed("--top-k", "1")
    assert greedy == printed("--top-k", "1", "--seed", "5") and corpus.UNKNOWN not in greedy
    assert printed("--temperature", "1e-6") == greedy
    assert cli.main(["generate", str(trained / checkpoint.NAME), "--words", "1"]) == 0


def test_samples_follow_the_softmax():
    net = model.Model.new(np.array([0.1, 0.2, 0.3, 0.4]), n_embedding=2, n_features=3)
    rng = np.random.default_rng(0)
    drawn = np.bincount([net.sample([0, 0, 0], rng) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(drawn, [0.1, 0.2, 0.3, 0.4], atol=0.03)
    assert {net.sample([0, 0, 0], rng, 1.0, 2) for _ in range(100)} == {2, 3}


def test_words_are_joined_as_they_are_written(capsys):
    writer = generate.Writer()
    for word in ("a", ",", "b", "(", "c", ")", ".", corpus.END, "d", "\x1b", "!"):
        writer.add(word)
    assert capsys.readouterr().out == "a, b (c).\nd?!"


def test_rows_are_stepped_as_the_whole_would_be(text):
    rng = np.random.default_rng(0)
    rows, gradient = np.array([1, 4, 1]), rng.standard_normal((3, 5)).astype(np.float32)
    whole = np.zeros((6, 5), np.float32)
    np.add.at(whole, rows, gradient)
    for kind in LEARNING_RATES:
        a = rng.standard_normal((6, 5)).astype(np.float32)
        b = a.copy()
        one, other = (model.make_optimizers(kind, 0.1)["embedding"] for _ in range(2))
        for _ in range(3):
            model.update_rows(one, "x", a, rows, gradient)
            other.update("x", b, whole)
        np.testing.assert_array_equal(a, b)
        assert one.n_steps == other.n_steps == 3


def test_the_step_allocates_neither_logits_twice_nor_the_classifiers_gradient(monkeypatch):
    seen = []
    step = fs.linear_cross_entropy_step
    monkeypatch.setattr(fs, "linear_cross_entropy_step", lambda *a, **k: seen.append(k) or step(*a, **k))
    net = model.Model.new(np.full(30, 1 / 30), n_embedding=4, n_features=6)
    net.step(np.zeros((8, 3), np.int32), np.arange(8), model.make_optimizers("adagrad", 0.1))
    assert seen[0]["bias"] is net.bias and seen[0]["max_workspace_bytes"] >= 256 * 100_000 * 4
    assert loop.Settings().batch == 256
