"""pytest bench/ --benchmark-only: each contender on named cases, with pytest-benchmark's own statistics.

A module of this folder names its CASES and OPERATIONS; its test takes `measured`, and fails where a contender is
wrong. For figures to publish use `fastsoftmax bench`, whose rounds are interleaved with each other and with the
machine's ceilings.
"""

from functools import lru_cache

import pytest

from fastsoftmax.bench import cases, oracle, rivals

# Relative errors beyond which a contender is wrong and not inexact: JAX sums bfloat16 in bfloat16.
WRONG = {"float64": 1e-9, "float32": 1e-2, "bfloat16": 0.2, "float16": 0.1}


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:torch")


def pytest_addoption(parser):
    group = parser.getgroup("fastsoftmax")
    group.addoption("--toy", action="store_true", help="tiny sizes: a trial of everything, figures without meaning")
    group.addoption("--rivals", default="all", metavar="all|none|NAME,...", help="the others to measure against")


def pytest_generate_tests(metafunc):
    if "measured" not in metafunc.fixturenames:
        return
    found = []
    for case in (cases.CASES[name] for name in metafunc.module.CASES):
        for operation in (cases.OPERATIONS[name] for name in metafunc.module.OPERATIONS):
            for rival in rivals.select(metafunc.config.getoption("--rivals")):
                marks = pytest.mark.skip(reason=rival.absent) if rival.absent else ()
                if rival.absent or rival.why_not(case, operation) is None:
                    found.append(pytest.param((case, operation, rival), marks=marks,
                                              id=f"{case.name}-{operation.name}-{rival.name}"))
    metafunc.parametrize("measured", found, indirect=True)


@lru_cache(1)
def _problem(case, operation):
    inputs = cases.make(case, operation)
    return inputs, oracle.right(inputs)


@pytest.fixture
def measured(request, benchmark):
    """(relative error, what would be wrong) of one contender, timed in 15 rounds."""
    case, operation, rival = request.param
    if request.config.getoption("--toy"):
        case = case.toy()
    inputs, right = _problem(case, operation)
    call = rivals.Call(rival, inputs)
    error = right.errors(*call.result())["relative_error"]
    benchmark.group = f"{operation.label}, {case.describe()}"
    benchmark.extra_info |= {"n_bytes": case.n_bytes, "relative_error": error}
    with call.context():
        benchmark.pedantic(call.run, setup=call.refresh, rounds=15, warmup_rounds=1)
    return error, WRONG[case.dtype]
