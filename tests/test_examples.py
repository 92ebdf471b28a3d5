"""The examples run, print what they claim, and what they claim is true."""

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import backends

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(module, capsys):
    module.main()
    return capsys.readouterr().out


def test_nominal_classes(capsys):
    module = example("nominal_classes")
    out = printed(module, capsys)
    assert "cat = 0, chicken = 1, dog = 2" in out
    assert "and back: ['dog', 'cat', 'cat', 'chicken']" in out
    assert "4,096 bytes as indices, 204,800,000 as one-hot" in out
    apart = module.distances(fs.one_hot(np.arange(3), 3))
    np.testing.assert_allclose(apart, math.sqrt(2) * (1 - np.eye(3)), rtol=1e-6)


def test_the_lectures_prediction():
    probs, loss, dlogits = example("linear_softmax").one_prediction()
    np.testing.assert_allclose(probs, [0.12, 0.64, 0.24], rtol=1e-12)
    assert loss == pytest.approx(-math.log(0.64), rel=1e-12)
    np.testing.assert_allclose(dlogits, [0.12, -0.36, 0.24], rtol=1e-12)


def test_gradient_descent_fits(capsys):
    module = example("linear_softmax")
    assert "-log 0.64 = 0.446287" in printed(module, capsys)
    features, labels = module.sample()
    classifier, bias, history = module.fit(features, labels, 3)
    assert history[0] == pytest.approx(math.log(3), rel=1e-12)
    assert np.all(np.diff(history) < 0)
    assert history[-1] < 0.2
    assert module.accuracy(module.linear(features, classifier, bias), labels) > 0.93


def test_gradient_descent_ends_where_the_gradient_is_small():
    module = example("linear_softmax")
    features, labels = module.sample()
    classifier, bias, _ = module.fit(features, labels, 3)
    probs = fs.softmax(module.linear(features, classifier, bias))
    dlogits = probs - fs.one_hot(labels, 3, np.float64)
    assert np.abs(dlogits.T @ features / len(labels)).max() < 0.02
    assert np.abs(dlogits.mean(axis=0)).max() < 0.02


def test_a_language_model_in_jax(capsys):
    pytest.importorskip("jax")
    module = example("jax_language_model")
    out = printed(module, capsys)
    first, last, again = map(float, re.findall(r"\d+\.\d{3}", out))
    assert first > 2 and last < 0.7 and again == pytest.approx(last, abs=2e-3)
    assert "sat on -> the 100 %" in out


def test_kl_is_not_symmetric_never_negative_zero_only_for_equals():
    module = example("kl_divergence")
    p, q = module.P, module.Q
    assert fs.kl_divergence(p, q) == pytest.approx(np.sum(p * np.log(p / q)), rel=1e-12)
    assert abs(fs.kl_divergence(p, q) - fs.kl_divergence(q, p)) > 0.05
    smallest, with_itself = module.smallest_kl()
    assert smallest > 0
    assert with_itself < 1e-15


def test_kl_of_one_hot_is_the_cross_entropy():
    entropy, kl, loss = example("kl_divergence").kl_of_one_hot()
    assert entropy == 0
    assert kl == pytest.approx(-math.log(0.64), rel=1e-12)
    assert loss == pytest.approx(kl, rel=1e-12)


@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (1.5, 0.8), (2.1, 0.45)])
def test_gaussian_likelihood_is_entropy_plus_kl(mean, std):
    module = example("kl_divergence")
    x = np.random.default_rng(1).normal(2.0, 0.5, size=500)
    kl = module.gaussian_kl(x.mean(), x.std(), mean, std)
    assert kl > 0
    entropy = module.gaussian_entropy(x.std())
    assert module.gaussian_nll(x, mean, std) == pytest.approx(entropy + kl, rel=1e-12)
    assert module.gaussian_kl_by_bins(x.mean(), x.std(), mean, std) == pytest.approx(kl, rel=1e-9)


def test_maximum_likelihood_minimises_kl(capsys):
    module = example("kl_divergence")
    assert "not symmetric" in printed(module, capsys)
    x = np.random.default_rng(1).normal(2.0, 0.5, size=500)
    mean, std = module.fit_gaussian(x)
    assert (mean, std) == (pytest.approx(x.mean(), rel=1e-9), pytest.approx(x.std(), rel=1e-9))
    assert abs(module.gaussian_kl(x.mean(), x.std(), mean, std)) < 1e-12


def test_score_language_model(capsys):
    module = example("score_language_model")
    out = printed(module, capsys)
    first, second = module.halves()
    table, uniform = module.fit(first), np.zeros((len(module.SIGNS),) * 2, np.float32)
    found, nothing = module.evaluate(table, second), module.evaluate(uniform, second)
    assert found.n_rows == len(second) - 1
    assert nothing.perplexity == pytest.approx(len(module.SIGNS), rel=1e-6)
    assert found.perplexity < 15 < nothing.perplexity
    pairs = zip(second[:-1], second[1:], strict=True)
    losses = [-fs.log_softmax(table[a])[b] for a, b in pairs]
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(np.mean(losses) / math.log(2), rel=1e-5)  # every sign is one byte
    assert f"{found.bits_per_byte:.2f} bits a byte" in out
    odds = fs.softmax(table[module.SIGNS.encode("h")])
    sign, p = module.guesses(table, "h")[0]
    assert (module.SIGNS.encode(sign), p) == (np.argmax(odds), pytest.approx(odds.max(), rel=1e-6))
    assert module.write(table, "T", 40, seed=3) == module.write(table, "T", 40, seed=3)


def test_vocabulary_shards(capsys):
    module = example("vocabulary_shards")
    out = printed(module, capsys)
    assert "ranks are the same: True  likeliest classes too: True" in out
    logits = np.random.default_rng(1).normal(size=(30, 50))
    labels = np.arange(30)
    labels[3] = -100
    scores, gradients = module.step(logits, np.where(labels == 0, 49, labels), n_workers=3)
    want = fs.score(logits, np.where(labels == 0, 49, labels), top_k=5)
    for one in scores:
        for name, a, b in zip(want._fields, one, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13, err_msg=name)
    dense = fs.cross_entropy_and_grad(logits, np.where(labels == 0, 49, labels), reduction="sum", dlosses=1 / 30)
    np.testing.assert_allclose(np.concatenate(gradients, axis=1), dense.dlogits, rtol=1e-11, atol=1e-16)
    many = np.broadcast_to(np.log([1.0, 2, 3, 4]), (4000, 4))
    drawn = module.sample(many, n_workers=2)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.sum((np.bincount(drawn[0], minlength=4) - [400, 800, 1200, 1600]) ** 2 / [400, 800, 1200, 1600]) < 16


def test_the_page_of_scores_runs():
    page = (EXAMPLES.parent / "docs" / "scores.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(block, names)
    dense = fs.cross_entropy_and_grad(names["logits"], names["labels"]).dlogits
    np.testing.assert_array_equal(names["first"], dense[:4])
    np.testing.assert_allclose(names["dclassifier"], dense.T.astype(float) @ names["features"], atol=1e-7)


def test_array_libraries(capsys):
    out = printed(example("array_libraries"), capsys)
    assert re.search(r"^array.array +array  +in place: True$", out, re.M)
    for library, kind in (("torch", "Tensor"), ("jax", "ArrayImpl"), ("array_api_strict", "Array"), ("pandas", "ndarray")):
        if importlib.util.find_spec(library):
            assert re.search(rf"^{library} +{kind} ", out, re.M)


def test_many_classes_by_scikit_learn(capsys):
    pytest.importorskip("sklearn")
    out = printed(example("sklearn_many_classes"), capsys)
    assert "2,000 classes" in out
    first, fifth = map(float, re.search(r"right ([\d.]+)%, among the first five ([\d.]+)%", out).groups())
    later = float(re.search(r"the test rows too: ([\d.]+)%", out).group(1))
    assert 50 < first < fifth and first < later


def test_numba_loss(capsys):
    pytest.importorskip("numba")
    out = printed(example("numba_loss"), capsys)
    assert "loss 1.6094 (= log 5) ->" in out
    ours, theirs = re.search(r"at 3: loss ([0-9.]+), the library's ([0-9.]+)", out).groups()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.filterwarnings("default")  # the notebook machinery warns about itself
def test_notebook_runs(monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    # The kernel stands in examples/ and must find the same fastsoftmax as this process.
    monkeypatch.setenv("PYTHONPATH", str(Path(fs.__file__).resolve().parent.parent))
    notebook = nbformat.read(EXAMPLES / "lecture.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "strip the notebook's outputs"
    folder = {"metadata": {"path": str(EXAMPLES)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=folder).execute()

    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    text = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")
    assert "loss 0.446287, gradient [ 0.12 -0.36  0.24]" in text
    assert re.search(r"entropy 0\.0000, KL 0\.446287, cross-entropy 0\.446287", text)
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 5


def test_the_gradient_filter(capsys):
    module = example("gradient_filter")
    out = printed(module, capsys)
    assert "the same without a filter: True" in out and "dclassifier is off by" in out
    features, classifier, bias, labels = module.model()
    got, without = (fs.linear_cross_entropy_and_grad(features, classifier, labels, bias=bias, grad_filter=eps)
                    for eps in (module.EPS, None))
    assert got.bound.kept < (0.5 if backends.current() == "cython" else 1)  # BLAS drops whole classes
    assert all(error <= bound + 1e-5 and bound < 0.1 for error, bound in module.shares(got, without))


def test_torch_language_model(capsys):
    pytest.importorskip("torch")
    module = example("torch_language_model")
    loss = re.search(r"loss (\S+) -> (\S+) nats\nsat on \.\.\. the ", printed(module, capsys))
    assert float(loss[1]) > 2.5
    assert float(loss[2]) < 0.5
