import os

import pytest
from hypothesis import HealthCheck, settings

import fastsoftmax as fs
from fastsoftmax import backends

# The same cases at every run; `pytest --hypothesis-profile=explore` looks for new ones.
relaxed = dict(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
settings.register_profile("suite", max_examples=100, derandomize=True, **relaxed)
settings.register_profile("explore", max_examples=5000, **relaxed)
settings.load_profile("suite")

VARIABLES = ("FASTSOFTMAX_BACKEND", "FASTSOFTMAX_CPU", "FASTSOFTMAX_NUM_THREADS")


@pytest.fixture(params=backends.available())
def backend(request):
    """Every backend that works here, in turn."""
    with fs.use_backend(request.param):
        yield request.param


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A `rerun:` line below every failure."""
    report = yield
    if report.failed:
        forced = "".join(f"{name}={os.environ[name]} " for name in VARIABLES if name in os.environ)
        report.sections.append(("rerun", f"rerun: {forced}pytest '{item.nodeid}'"))
    return report
