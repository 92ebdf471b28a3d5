"""The examples run, print what they claim, and what they claim is true."""

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax as fs

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
