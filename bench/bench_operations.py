"""Every operation at the size that the library is for: 512 x 100,000 float32."""

from fastsoftmax.bench.cases import DEFAULT_CASE
from fastsoftmax.bench.cases import OPERATIONS as EVERY

CASES = (DEFAULT_CASE,)
OPERATIONS = tuple(EVERY)


def test_operation(measured):
    error, wrong = measured
    assert error < wrong
