import checks
import numpy as np
import pytest

import fastsoftmax as fs


def test_nominal_classes():
    v = fs.Vocabulary(["cat", "chicken", "dog"])
    assert v.encode("cat") == 0 and v.decode(2) == "dog" and len(v) == 3
    assert "dog" in v and "bird" not in v and repr(v) == "Vocabulary of 3 classes"
    np.testing.assert_array_equal(v.encode(["dog", "cat"]), [2, 0])
    np.testing.assert_array_equal(v.encode([["dog", "cat"], ["cat", "cat"]]), [[2, 0], [0, 0]])
    np.testing.assert_array_equal(v.encode(np.array(["dog", "cat"])), [2, 0])
    assert v.decode(np.array([1, 0])) == ["chicken", "cat"] and v.decode(np.uint8(1)) == "chicken"
    assert v.encode([]).shape == (0,) and v.decode([]) == []
    assert v.encode("bird", unknown=-100) == -100
    np.testing.assert_array_equal(v.encode(["bird", "dog"], unknown=-100), [-100, 2])


def test_any_hashable_is_a_class():
    v = fs.Vocabulary([("a", "b"), 7, None, "x"])
    assert v.encode(("a", "b")) == 0 and v.encode(7) == 1 and v.encode(None) == 2
    assert v.decode([2, 1]) == [None, 7]


def test_classes_that_are_refused():
    v = fs.Vocabulary(["cat", "chicken", "dog"])
    checks.check_refused(lambda: v.encode("bird"), KeyError, "'bird' is not one of the 3 classes")
    checks.check_refused(lambda: v.encode(["cat", "bird"]), KeyError, "'bird'")
    checks.check_refused(lambda: v.decode(3), fs.LabelError, r"indices is 3, outside \[0, 3\)")
    checks.check_refused(lambda: v.decode([0, -1]), fs.LabelError, r"indices\[1\] is -1, outside \[0, 3\)")
    checks.check_refused(lambda: v.decode([0, 2**63]), TypeError, "indices has dtype float64")
    checks.check_refused(lambda: v.decode([0.5]), TypeError, "indices has dtype float64")
    checks.check_refused(lambda: v.decode(None), TypeError, "indices must be an integer array")
    checks.check_refused(lambda: fs.Vocabulary("aa"), ValueError, "'a' occurs twice")
    checks.check_refused(lambda: fs.Vocabulary([[1]]), TypeError, "unhashable")


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,), (2, 0)])
def test_one_hot_and_back(shape):
    labels = np.random.default_rng(0).integers(0, 5, shape)
    for kind in (np.float32, np.float64, np.int8, bool, "f2"):
        vectors = fs.one_hot(labels, 5, kind)
        assert vectors.shape == (*shape, 5) and vectors.dtype == np.dtype(kind)
        np.testing.assert_array_equal(vectors, labels[..., None] == np.arange(5))
        np.testing.assert_array_equal(fs.from_one_hot(vectors), labels)
    assert fs.from_one_hot(fs.one_hot(labels, 5)).dtype == np.int64


def test_one_hot_of_what_is_no_label():
    checks.check_refused(lambda: fs.one_hot([3], 3), fs.LabelError, r"labels\[0\] is 3, outside \[0, 3\)")
    checks.check_refused(lambda: fs.one_hot([[0], [-1]], 3), fs.LabelError, r"labels\[1, 0\] is -1")
    checks.check_refused(lambda: fs.one_hot(np.array([2**64 - 1], np.uint64), 3), fs.LabelError, r"is 18446744073709551615")
    checks.check_refused(lambda: fs.one_hot(np.array([-2**63]), 3), fs.LabelError, r"is -9223372036854775808")
    checks.check_refused(lambda: fs.one_hot([0], 0), fs.LabelError, r"outside \[0, 0\)")
    checks.check_refused(lambda: fs.one_hot([0.0], 3), TypeError, "labels has dtype float64")
    checks.check_refused(lambda: fs.one_hot(None, 3), TypeError, "labels must be")
    checks.check_refused(lambda: fs.one_hot(np.ma.array([0]), 3), TypeError, "labels is a masked array")
    checks.check_refused(lambda: fs.one_hot([0], -1), ValueError, "n_classes is -1, but must be at least 0")
    for n in (2.0, "3", None, True):
        checks.check_refused(lambda n=n: fs.one_hot([0], n), TypeError, "n_classes must be an integer")


@pytest.mark.parametrize(("vectors", "says"), [
    ([[0, 1], [1, 1]], r"one_hot\[1\] is not a one-hot vector: one 1, all else 0"),
    ([[[0, 1]], [[0, 0]]], r"one_hot\[1, 0\]"),
    ([0, 2], "one_hot is not"),
    ([0.5, 0.5], "one_hot is not"),
    ([float("nan"), 1], "one_hot is not"),
    ([[0, 1], [1, 1e-30]], r"one_hot\[1\]"),
    (np.zeros((2, 0)), r"one_hot\[0\]"),
    (1.0, "one_hot must have a class axis"),
    ([[1], [1, 0]], "one_hot cannot be read as an array"),
])
def test_what_is_not_one_hot(vectors, says):
    checks.check_refused(lambda: fs.from_one_hot(vectors), ValueError, says)


def test_what_no_one_hot_vector_can_be():
    for vectors, says in [(None, "not None"), (["a"], "dtype <U1"), (np.ma.array([0, 1]), "masked"), ([1j, 0], "complex")]:
        checks.check_refused(lambda v=vectors: fs.from_one_hot(v), TypeError, f"^one_hot .*{says}")
