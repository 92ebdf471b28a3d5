import os
import sysconfig
from pathlib import Path

import child
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


@pytest.fixture
def every_backend():
    """All their names, for tests whose reference takes longer than the backends do."""
    return backends.available()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A `rerun:` line below every failure."""
    report = yield
    if report.failed:
        forced = "".join(f"{name}={os.environ[name]} " for name in VARIABLES if name in os.environ)
        report.sections.append(("rerun", f"rerun: {forced}pytest '{item.nodeid}'"))
    return report


def pytest_configure(config):
    """FASTSOFTMAX_INSTALLED=1: refuse to test anything but an installed package."""
    config.addinivalue_line("markers", "every_backend: chooses its backends itself, whatever FASTSOFTMAX_BACKEND says")
    found = Path(fs.__file__).resolve()
    site = Path(sysconfig.get_path("platlib")).resolve()
    if os.environ.get("FASTSOFTMAX_INSTALLED") and not found.is_relative_to(site):
        raise pytest.UsageError(f"FASTSOFTMAX_INSTALLED is set, but {found} is not in {site}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        chooses = {"backend", "every_backend"} & set(item.fixturenames)
        if chooses or item.path.stem.removeprefix("test_") in backends.NAMES:
            item.add_marker("every_backend")
    items.sort(key=uses_numba)


def pytest_sessionfinish(session):
    """FASTSOFTMAX_REQUIRE=torch,scipy: a skip that names one of these fails the run."""
    required = [name for name in os.environ.get("FASTSOFTMAX_REQUIRE", "").split(",") if name]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reasons = [report.longrepr[2] for report in reporter.stats.get("skipped", [])]
    missing = [name for name in required if any(name in reason for reason in reasons)]
    if missing:
        reporter.write_line(f"FASTSOFTMAX_REQUIRE: skipped for want of {', '.join(missing)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# Compiling all of Numba's kernels takes a minute where its cache is cold. In a run of the whole suite a second process
# does it while the other backends are tested; the tests that need Numba come last.

COMPILE = """
from operations import DTYPES, OPERATIONS, inputs_of, make
import fastsoftmax as fs
fs.set_backend("numba")
for dtype in DTYPES:
    for name, operation in OPERATIONS.items():
        operation(*inputs_of(name, (2, 3), dtype))
    logits = make("logits", (2, 3), dtype)
    fs.topk(logits, 1), fs.entropy_with_logits(logits)
"""
WHOLE_SUITE = 500  # tests
compiling = None


def uses_numba(item):
    """By name, or because it tries every backend: the demo and the benchmarks do too, in processes of their own."""
    return ("numba" in item.nodeid or "every_backend" in item.fixturenames
            or item.path.stem.startswith(("test_demo", "test_bench")))


def pytest_collection_finish(session):
    global compiling
    if len(session.items) > WHOLE_SUITE and any(map(uses_numba, session.items)) and not backends.why_not("numba"):
        compiling = child.start(COMPILE)


def pytest_runtest_setup(item):
    if compiling and uses_numba(item):
        compiling.wait()


def pytest_unconfigure():
    if compiling and compiling.poll() is None:
        compiling.terminate()
