import numpy as np
import pytest

import fastsoftmax as fs


def test_nominal_classes():
    v = fs.Vocabulary(["cat", "chicken", "dog"])
    assert v.encode("cat") == 0 and v.decode(2) == "dog" and len(v) == 3
    np.testing.assert_array_equal(v.encode(["dog", "cat"]), [2, 0])
    assert v.decode(np.array([1, 0])) == ["chicken", "cat"]
    with pytest.raises(KeyError, match="bird"):
        v.encode("bird")
    with pytest.raises(fs.LabelError):
        v.decode(3)
    with pytest.raises(ValueError, match="'a' occurs twice"):
        fs.Vocabulary("aa")


def test_one_hot_and_back():
    labels = np.array([[0, 2], [1, 1]])
    np.testing.assert_array_equal(fs.from_one_hot(fs.one_hot(labels, 3)), labels)
    with pytest.raises(fs.LabelError, match=r"labels\[0\] is 3"):
        fs.one_hot([3], 3)
    with pytest.raises(ValueError, match=r"one_hot\[1\]"):
        fs.from_one_hot([[0, 1], [1, 1]])
