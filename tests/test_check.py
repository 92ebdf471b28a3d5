import numpy as np
import pytest

import fastsoftmax as fs

X, Y = np.zeros((3, 5), np.float32), np.array([0, 1, 2])


@pytest.mark.parametrize(("labels", "says"), [
    ([0, 1, 5], r"labels\[2\] is 5, outside \[0, 5\)"),
    ([0, -1, 2], r"labels\[1\] is -1"),
    (np.array([0, 2**32 + 3, 1]), r"labels\[1\] is 4294967299"),
    (np.array([0, 1, 2**64 - 100], np.uint64), r"labels\[2\]"),
    (np.array([156, 1, 2], np.uint8), r"labels\[0\] is 156"),
])
def test_labels_out_of_range(backend, labels, says):
    before = X.copy()
    for call in (fs.cross_entropy, fs.cross_entropy_and_grad):
        with pytest.raises(fs.LabelError, match=says):
            call(X, labels)
    with pytest.raises(IndexError):
        fs.cross_entropy_and_grad(before, labels, out=before)
    np.testing.assert_array_equal(before, X)


@pytest.mark.parametrize(("labels", "error", "says"), [
    ([0.0, 1.0, 2.0], TypeError, "labels has dtype float64"),
    ([True, False, True], TypeError, "labels has dtype bool"),
    ([0, 1], ValueError, r"labels has shape \(2,\)"),
    (0, ValueError, r"labels has shape \(\)"),
    (None, TypeError, "labels must be"),
    (np.ma.array([0, 1, 2]), TypeError, "masked"),
])
def test_labels_of_the_wrong_kind(labels, error, says):
    with pytest.raises(error, match=says):
        fs.cross_entropy(X, labels)


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"label_smoothing": 1.5}, ValueError, r"label_smoothing is 1.5, outside \[0.0, 1.0\]"),
    ({"label_smoothing": float("nan")}, ValueError, "label_smoothing"),
    ({"reduction": "avg"}, ValueError, "reduction is 'avg'; allowed are 'none', 'mean', 'sum'"),
    ({"temperature": 0}, ValueError, "temperature"),
    ({"temperature": "hot"}, TypeError, "temperature"),
    ({"softcap": -1}, ValueError, "softcap"),
    ({"class_weight": [1, 2]}, ValueError, r"class_weight has shape \(2,\)"),
    ({"sample_weight": [1, 2]}, ValueError, r"sample_weight has shape \(2,\)"),
    ({"ignore_index": 1.5}, TypeError, "ignore_index"),
    ({"empty": "one"}, ValueError, "empty is 'one'"),
    ({"axis": 2}, ValueError, r"axis is 2, outside \[-2, 2\)"),
])
def test_options_out_of_range(options, error, says):
    with pytest.raises(error, match=says):
        fs.cross_entropy(X, Y, **options)


@pytest.mark.parametrize("logits", [None, X.astype(bool), X.astype(object), X.astype(complex), X.astype(str),
                                    np.ma.array(X)])
def test_logits_of_the_wrong_kind(logits):
    with pytest.raises(TypeError, match="logits"):
        fs.cross_entropy(logits, Y)


def test_zero_classes():
    with pytest.raises(ValueError, match="zero classes"):
        fs.softmax(np.zeros((3, 0)))
    assert fs.softmax(np.zeros((0, 0))).shape == (0, 0)


def test_out():
    read_only = X.copy()
    read_only.flags.writeable = False
    base = np.zeros((4, 5), np.float32)
    for out, error, says in [
        (read_only, ValueError, "read-only"),
        (np.zeros((3, 5)), TypeError, "out has dtype float64"),
        (np.zeros((5, 3), np.float32), ValueError, "out has shape"),
        (np.lib.stride_tricks.as_strided(base, (3, 5), (0, 4)), ValueError, "share memory"),
        ([0], TypeError, "out must be a numpy array"),
    ]:
        with pytest.raises(error, match=says):
            fs.cross_entropy_and_grad(X, Y, out=out)
    with pytest.raises(ValueError, match="overlaps logits"):
        fs.cross_entropy_and_grad(base[:3], Y, out=base[1:])


def test_backend_and_threads():
    with pytest.raises(ValueError, match="name is 'cuda'; allowed are 'auto', 'cython', 'numba', 'numpy'"):
        fs.set_backend("cuda")
    with pytest.raises(ValueError, match="at least 1"):
        fs.set_num_threads(0)
    old = fs.set_num_threads(3)
    assert fs.set_num_threads(old) == 3
