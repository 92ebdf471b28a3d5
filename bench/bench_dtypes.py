"""The three main operations in the other dtypes: 16 bits should cost half the time of 32, and 64 twice."""

CASES = ("large-float64", "large-bfloat16", "large-float16")
OPERATIONS = ("loss", "gradient-in-place", "softmax")


def test_dtype(measured):
    error, wrong = measured
    assert error < wrong
