"""SoftmaxClassifier: scikit-learn's own checks, LogisticRegression's optimum, and what is beyond it."""

import pickle
import sys
import tracemalloc

import child
import numpy as np
import pytest

pytest.importorskip("sklearn")
from scipy import sparse  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_digits, load_iris  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import fastsoftmax as fs  # noqa: E402
from fastsoftmax.bench import sklearn_door  # noqa: E402
from fastsoftmax.sklearn import SoftmaxClassifier, minibatch, rows  # noqa: E402

SOLVERS = ("lbfgs", *minibatch.OPTIMIZERS)
EXACT = {"tol": 1e-9, "max_iter": 5000}  # to the optimum, in float64
unfinished = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def data(n_rows=90, n_features=6, n_classes=5, density=None, dtype=np.float64):
    """X, of which every class has some rows, and y of strings."""
    rng = np.random.default_rng(n_rows)
    X = rng.standard_normal((n_rows, n_features))
    if density is not None:
        X *= rng.random(X.shape) < density
    y = np.array([f"class {k:05d}" for k in rng.permutation(np.arange(n_rows) % n_classes)])
    return X.astype(dtype), y


@unfinished
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([SoftmaxClassifier(), SoftmaxClassifier(solver="adagrad"),
                          SoftmaxClassifier(solver="adam", max_iter=30), SoftmaxClassifier(solver="sgd", max_iter=30)])
def test_the_frameworks_own_checks(estimator, check):
    check(estimator)


def agree(ours, theirs, X, rtol=1e-5, atol=1e-7):
    """Parameters and predictions."""
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol, atol)
    centred = [m.intercept_ - (m.intercept_.mean() if len(m.classes_) > 2 else 0) for m in (ours, theirs)]
    np.testing.assert_allclose(*centred, rtol, 10 * atol)  # of three classes and more a constant is free
    for name in ("predict_proba", "predict_log_proba", "predict"):
        got, want = getattr(ours, name)(X), getattr(theirs, name)(X)
        if name == "predict":
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, 1e-4, atol)
    assert ours.coef_.shape == theirs.coef_.shape and ours.intercept_.shape == theirs.intercept_.shape
    assert ours.decision_function(X).shape == theirs.decision_function(X).shape
    assert ours.score(X, theirs.predict(X)) == 1


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("kind", ["dense", "sparse", "very sparse"])
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"C": 0.05}, {"class_weight": "balanced"},
                                     {"class_weight": {"class 00000": 7.0, "class 00001": 0.5}}])
def test_at_the_optimum_it_is_logistic_regression(n_classes, kind, options, monkeypatch):
    X, y = data(n_classes=n_classes, density=None if kind == "dense" else 0.4)
    monkeypatch.setattr(rows, "DENSE_ENOUGH", 1.1 if kind == "very sparse" else 0.0)
    cut = rows.slices
    monkeypatch.setattr(rows, "slices", lambda n_rows, row_bytes, max_bytes: cut(n_rows, 1, 35))
    weights = np.random.default_rng(1).integers(0, 4, len(y))
    wanted = LogisticRegression(**EXACT, **options).fit(X, y, weights)
    inputs = X if kind == "dense" else sparse.csr_array(X)
    assert rows.is_very_sparse(inputs) == (kind == "very sparse")
    agree(SoftmaxClassifier(**EXACT, **options).fit(inputs, y, weights), wanted, inputs)


def test_without_a_penalty_and_with_alpha():
    X, y = data(400, 3)
    agree(SoftmaxClassifier(C=np.inf, **EXACT).fit(X, y), LogisticRegression(C=np.inf, **EXACT).fit(X, y), X, 1e-4, 1e-6)
    by_C, by_alpha = (SoftmaxClassifier(**EXACT, **o).fit(X, y) for o in ({"C": 0.5}, {"alpha": 1 / (0.5 * 400)}))
    np.testing.assert_allclose(by_C.coef_, by_alpha.coef_, rtol=1e-9)


@pytest.mark.parametrize("load", [load_iris, load_digits])
def test_as_far_as_logistic_regression_by_default(load):
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    ours, theirs = SoftmaxClassifier().fit(X, y), LogisticRegression().fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)
    assert abs(ours.n_iter_ - theirs.n_iter_[0]) <= 5


@pytest.mark.parametrize("solver", minibatch.OPTIMIZERS)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_minibatches_end_near_the_optimum(solver, n_classes):
    X, y = data(600, 6, n_classes)
    rate = 0.05 if solver == "adagrad" else 0.005
    theirs = LogisticRegression(C=0.1, **EXACT).fit(X, y)
    ours = SoftmaxClassifier(C=0.1, solver=solver, learning_rate=rate, tol=1e-7, max_iter=400, batch_size=200,
                             n_iter_no_change=20, random_state=0).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=0.01)  # of up to 0.3
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=0.01)


@unfinished
@pytest.mark.parametrize("solver", SOLVERS)
def test_sparse_and_dense_give_the_same(solver, monkeypatch):
    X, y = data(density=0.3)
    found = []
    for inputs, enough in ((X, 0), (sparse.csr_matrix(X), 0), (sparse.csc_array(X), 1.1)):
        monkeypatch.setattr(rows, "DENSE_ENOUGH", enough)
        model = SoftmaxClassifier(solver=solver, max_iter=4, batch_size=20, random_state=3)
        found.append(model.fit(inputs, y))
        if solver != "lbfgs":  # a dense X after a very sparse one
            found[-1].partial_fit(X, y)
        found.append(found[-1])
    for model in found[1:]:
        np.testing.assert_allclose(model.coef_, found[0].coef_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(model.predict_proba(sparse.csr_array(X)), found[0].predict_proba(X), rtol=1e-6)
        for got, want in zip(model.predict_topk(sparse.csr_array(X), 3), found[0].predict_topk(X, 3), strict=True):
            assert np.array_equal(got, want) if got.dtype.kind == "U" else np.allclose(got, want)


@unfinished
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 7])
def test_float32_stays_float32(solver, n_classes):
    X, y = data(n_classes=n_classes, dtype=np.float32)
    model = SoftmaxClassifier(solver=solver, max_iter=20).fit(X, y)
    outputs = model.coef_, model.intercept_, model.predict_proba(X), model.predict_log_proba(X), model.decision_function(X)
    assert {a.dtype for a in outputs} == {np.dtype(np.float32)}
    wide = SoftmaxClassifier(solver=solver, max_iter=20).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(model.predict_proba(X), wide.predict_proba(X), atol=1e-3)


PEAK = 24 << 20  # bytes: the logits would take 36 MB, in float32


@unfinished
@pytest.mark.filterwarnings("ignore:The number of unique classes")  # scikit-learn 1.7, in model.score
@pytest.mark.parametrize("kind", ["dense", "sparse", "very sparse"])
@pytest.mark.parametrize("solver", ["lbfgs", "adagrad"])
def test_no_logits_of_all_rows(solver, kind, monkeypatch):
    monkeypatch.setattr(rows, "DENSE_ENOUGH", 1.1 if kind == "very sparse" else 0.0)
    X, y = data(3000, 4, 3000, dtype=np.float32)
    X = X if kind == "dense" else sparse.csr_array(X)
    tracemalloc.start()
    try:
        model = SoftmaxClassifier(solver=solver, max_iter=1, max_workspace_bytes=8 << 20).fit(X, y)
        model.score(X, y)
        model.predict_topk(X[:500], 5)
        assert tracemalloc.get_traced_memory()[1] < PEAK
    finally:
        tracemalloc.stop()


@unfinished
def test_topk():
    X, y = data(300, 8, 40)
    model = SoftmaxClassifier(max_iter=5).fit(X, y)
    classes, log_probs = model.predict_topk(X, 4)
    right = np.argsort(-model.decision_function(X), axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(classes, model.classes_[right])
    np.testing.assert_allclose(log_probs, np.take_along_axis(model.predict_log_proba(X), right, 1), rtol=1e-9)
    np.testing.assert_array_equal(classes[:, 0], model.predict(X))
    everything = model.predict_topk(X[:3], 40)
    np.testing.assert_allclose(np.exp(everything.log_probs).sum(axis=1), 1)
    for k in (0, 41):
        with pytest.raises(ValueError, match=rf"k is {k}, outside \[1, 40\]"):
            model.predict_topk(X, k)
    with pytest.raises(TypeError, match="k must be an integer, not float"):
        model.predict_topk(X, 2.0)


@pytest.mark.parametrize("k", [1, 3])
def test_among_equals_the_first_class_comes_first(k, monkeypatch):
    X, y = data(20, 3, 5)
    model = SoftmaxClassifier(C=1e-12, fit_intercept=False).fit(X, y)
    model.coef_[...] = 0
    for inputs in (X, sparse.csr_array(X)):
        monkeypatch.setattr(rows, "DENSE_ENOUGH", 1.1)
        np.testing.assert_array_equal(model.predict_topk(inputs, k).classes, np.tile(model.classes_[:k], (20, 1)))


@pytest.mark.parametrize("solver", minibatch.OPTIMIZERS)
def test_partial_fit_is_an_epoch_of_fit(solver):
    X, y = data(100)
    whole = SoftmaxClassifier(solver=solver, max_iter=3, random_state=5, batch_size=32, tol=0, n_iter_no_change=9)
    parts = clone(whole).set_params(alpha=0.01)
    with pytest.warns(ConvergenceWarning, match="3 epochs, max_iter, were over before the loss stopped falling"):
        whole.set_params(alpha=0.01).fit(X, y)
    for _ in range(3):
        parts.partial_fit(X, y, classes=np.unique(y))
    np.testing.assert_array_equal(parts.coef_, whole.coef_)
    np.testing.assert_array_equal(parts.intercept_, whole.intercept_)
    assert parts.loss_curve_ == whole.loss_curve_ and parts.n_iter_ == whole.n_iter_ == 3
    revived = pickle.loads(pickle.dumps(parts))
    revived.coef_.flags.writeable = False  # as of a model that is mapped from a file
    np.testing.assert_array_equal(revived.partial_fit(X, y).coef_, whole.partial_fit(X, y).coef_)


def test_partial_fit_over_a_stream_learns_classes_it_sees_later():
    X, y = data(1000, 6, 10)
    X += 4 * np.random.default_rng(0).standard_normal((10, 6))[np.unique(y, return_inverse=True)[1]]
    model = SoftmaxClassifier(solver="adagrad", random_state=0, batch_size=50)
    classes = [*np.unique(y), "zebra"]  # never seen
    for _ in range(3):
        for start in range(0, 1000, 100):
            model.partial_fit(X[start:start + 100], y[start:start + 100], classes=classes)
    assert model.score(X, y) > 0.95 and model.predict_proba(X)[:, -1].max() < 0.05
    assert model.classes_[-1] == "zebra" and model.coef_.shape == (11, 6)


def test_partial_fit_heeds_what_was_set_since():
    X, y = data()
    model = SoftmaxClassifier(solver="sgd", random_state=0).partial_fit(X, y, classes=np.unique(y))
    before = model.coef_.copy()
    model.set_params(learning_rate=1e-9).partial_fit(X, y)
    np.testing.assert_allclose(model.coef_, before, atol=1e-6)
    model.set_params(solver="adam", learning_rate=0.5).partial_fit(X, y)
    assert np.abs(model.coef_ - before).max() > 0.4


def test_partial_fit_refuses():
    X, y = data()
    with pytest.raises(AttributeError, match="partial_fit") as raised:
        SoftmaxClassifier().partial_fit(X, y)
    assert "needs a minibatch solver, one of adagrad, adam, sgd, not 'lbfgs'" in str(raised.value.__cause__)
    assert not hasattr(SoftmaxClassifier(), "partial_fit") and hasattr(SoftmaxClassifier(solver="sgd"), "partial_fit")
    model = SoftmaxClassifier(solver="adagrad")
    with pytest.raises(ValueError, match="classes must be given at the first call"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"y\[\d+\] is class 00004, which is not one of the 4 classes"):
        model.partial_fit(X, y, classes=np.unique(y)[:4])
    with pytest.raises(ValueError, match="needs all rows at once"):
        clone(model).set_params(class_weight="balanced").partial_fit(X, y, classes=np.unique(y))
    model.partial_fit(X, y, classes=np.unique(y))
    with pytest.raises(ValueError, match="classes is not what it was"):
        model.partial_fit(X, y, classes=["a", "b"])


def test_a_hundred_thousand_classes():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((64, 8), np.float32), rng.integers(0, 100_000, 64)
    model = SoftmaxClassifier(solver="adagrad", max_workspace_bytes=8 << 20, learning_rate=1.0)
    for _ in range(3):
        model.partial_fit(X, y, classes=np.arange(100_000))
    assert model.coef_.shape == (100_000, 8) and model.coef_.dtype == np.float32
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    np.testing.assert_array_equal(model.predict_topk(X, 1).classes[:, 0], model.predict(X))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_warm_start(solver, n_classes):
    X, y = data(n_classes=n_classes)
    model = SoftmaxClassifier(solver=solver, max_iter=300, warm_start=True, random_state=0).fit(X, y)
    first, n_iter = model.coef_.copy(), model.n_iter_
    model.fit(X, y)
    assert model.n_iter_ < n_iter
    np.testing.assert_allclose(model.coef_, first, atol=0.1)
    with pytest.raises(ValueError, match=f"warm_start needs the {n_classes} classes of the last fit, but y has other"):
        model.fit(X, [*range(3)] * 30)
    with pytest.raises(ValueError, match="warm_start needs the 6 features of the last fit, but X has 4"):
        model.fit(X[:, :4], y)


def test_early_stopping_keeps_what_was_best():
    X, y = data(300, 20, 10)  # noise: more than a little of it is learnt by heart
    model = SoftmaxClassifier(solver="adagrad", C=np.inf, early_stopping=True, validation_fraction=0.3, max_iter=400,
                              random_state=0, learning_rate=0.3, n_iter_no_change=10).fit(X, y)
    held_out = model.validation_loss_curve_
    assert len(held_out) == model.n_iter_ < 400 and min(held_out) < held_out[-1]
    again = clone(model).set_params(max_iter=int(np.argmin(held_out)) + 1)
    with pytest.warns(ConvergenceWarning):
        again.fit(X, y)
    np.testing.assert_array_equal(again.coef_, model.coef_)
    assert len(np.unique(model.predict(X))) > 2


def test_the_same_for_any_number_of_threads():
    X, y = data(300, 6, 50)
    found = []
    for n in (1, 3):
        with fs.use_num_threads(n):
            found.append(SoftmaxClassifier(solver="adam", max_iter=1000, tol=1e-2, random_state=7).fit(X, y).coef_)
    np.testing.assert_array_equal(*found)


@unfinished
def test_in_pipelines_searches_and_pickles():
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(make_pipeline(StandardScaler(), SoftmaxClassifier()),
                          {"softmaxclassifier__C": [1e-4, 1.0], "softmaxclassifier__solver": ["lbfgs", "adagrad"]}, cv=3,
                          scoring="neg_log_loss", error_score="raise").fit(X, y)
    assert search.best_params_["softmaxclassifier__C"] == 1.0 and search.best_estimator_.score(X, y) > 0.9
    revived = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(revived.predict_proba(X), search.predict_proba(X))
    copy = clone(search.best_estimator_[-1])
    assert copy.get_params() == search.best_estimator_[-1].get_params() and not hasattr(copy, "coef_")
    assert repr(SoftmaxClassifier(C=2.0)) == "SoftmaxClassifier(C=2.0)"


def test_names_of_columns():
    pandas = pytest.importorskip("pandas")
    X, y = data()
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    model = SoftmaxClassifier().fit(frame, pandas.Series(y))
    assert list(model.feature_names_in_) == list("abcdef") and model.n_features_in_ == 6
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("fedcba")])


@unfinished
@pytest.mark.parametrize("solver", ["lbfgs", "adagrad"])
def test_a_progress_bar(solver, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    X, y = data()
    SoftmaxClassifier(solver=solver, max_iter=3).fit(X, y)
    assert capsys.readouterr() == ("", "")
    SoftmaxClassifier(solver=solver, max_iter=3, verbose=1).fit(X, y)
    shown = capsys.readouterr().err
    assert "3/3" in shown and "loss=" in shown and ("iteration" if solver == "lbfgs" else "batch") in shown
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r'verbose needs tqdm: pip install "fastsoftmax\[sklearn\]"'):
        SoftmaxClassifier(solver=solver, verbose=1).fit(X, y)


def test_without_the_framework():
    program = """
import sys
sys.modules["sklearn"] = None
try:
    import fastsoftmax.sklearn
except ImportError as error:
    print(error)
"""
    assert child.run(program).strip() == 'fastsoftmax.sklearn needs scikit-learn: pip install "fastsoftmax[sklearn]"'


def test_what_did_not_converge_says_so():
    X, y = data()
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 1 iter.*Increase max_iter, which is 1"):
        SoftmaxClassifier(max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match="no longer finite. Scale the columns of X, or lower learning_rate, which is 1e"):
        SoftmaxClassifier(solver="sgd", learning_rate=1e200, max_iter=50, random_state=0).fit(1e150 * X, y)
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().predict(X)


@pytest.mark.parametrize(("parameters", "message"), [
    ({"solver": "newton"}, "solver is 'newton'; allowed are 'lbfgs', 'adagrad', 'adam', 'sgd'"),
    ({"C": 0}, "C is 0, but must be a number above 0"),
    ({"C": np.nan}, "C is nan"),
    ({"alpha": -1.0}, "alpha is -1.0, but must be a number of at least 0"),
    ({"max_iter": 0}, "max_iter is 0, but must be an integer of at least 1"),
    ({"validation_fraction": 1.0}, "validation_fraction is 1.0, but must be a number above 0 and below 1"),
    ({"class_weight": "unfair"}, "class_weight is 'unfair'; allowed are a dict, 'balanced' and None"),
    ({"class_weight": {"class 00002": -1}}, "class_weight of class 00002 is -1.0, but must be a number of"),
    ({"max_workspace_bytes": 1}, "max_workspace_bytes is 1, but the least"),
])
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**parameters).fit(*data())


def test_bad_types_and_labels():
    X, y = data()
    for parameters in ({"tol": "0.1"}, {"batch_size": 2.0}, {"max_iter": True}, {"C": None}, {"fit_intercept": "no"},
                       {"warm_start": 1}, {"early_stopping": "yes"}):
        with pytest.raises(TypeError, match=f"{next(iter(parameters))} must be a"):
            SoftmaxClassifier(**parameters).fit(X, y)
    SoftmaxClassifier(fit_intercept=np.True_, tol=0.1).fit(X, y)
    with pytest.raises(ValueError, match="y must have at least 2 classes, but has only one class: 7"):
        SoftmaxClassifier().fit(X, np.full(len(X), 7))
    with pytest.raises(ValueError, match=r"Unknown label type: continuous. y\[1\] is 0.5"):
        SoftmaxClassifier().fit(X, [0.0, 0.5] * 45)
    with pytest.raises(ValueError, match="here every row has weight 0|non-zero"):
        SoftmaxClassifier().fit(X, y, np.zeros(len(y)))


def test_the_bench(monkeypatch, capsys):
    assert 0 <= sklearn_door.memory("adagrad", (60, 3, 20)) < 1 << 26
    monkeypatch.setattr(sklearn_door, "memory", lambda name, size: 1e6 if name != sklearn_door.THEIRS else 11e6)
    assert sklearn_door.main(["--size", "60,3,20", "--rounds", "2"]) == 0
    said = capsys.readouterr().out
    assert "60 x 3, 20 classes" in said and all(f"| {label} |" in said for label in sklearn_door.LABELS.values())
    monkeypatch.setattr(sklearn_door, "SIZE", (60, 3, 20))
    monkeypatch.setattr(sklearn_door, "TIMES", 1e9)
    assert sklearn_door.main(["--size", "60,3,20", "--rounds", "1"]) == sklearn_door.MISSED
    said = capsys.readouterr().out
    assert said.count("| NO |") == 2 and said.count("| yes |") == 2
    with pytest.raises(SystemExit):
        sklearn_door.main(["--size", "3,4"])
