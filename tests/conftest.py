import pytest

import fastsoftmax as fs
from fastsoftmax import backends


@pytest.fixture(params=backends.available())
def backend(request):
    """Every backend that works here, in turn."""
    with fs.use_backend(request.param):
        yield request.param
