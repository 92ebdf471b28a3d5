"""The three main operations on vocabularies of real models, one row, short rows, and the class axis first."""

CASES = ("gpt2", "gpt2-sure", "llama3", "gemma", "million", "one-row", "short-rows", "one-call", "class-axis-first")
OPERATIONS = ("loss", "gradient-in-place", "softmax")


def test_shape(measured):
    error, wrong = measured
    assert error < wrong
