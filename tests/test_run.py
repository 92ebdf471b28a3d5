"""Which kernel ran: every kernel is reached through its public function, in each dtype, backend and instruction set."""

import importlib

import checks
import numpy as np
import pytest
from operations import DTYPES, OPERATIONS, inputs_of

import fastsoftmax as fs
from fastsoftmax import api, api_targets, backends, contract, run

WHOLE_ROWS = ("centered_rows",)  # of which no part is computed alone


class Seen:
    """What the floors below were asked for: plans made, jobs bound."""

    def __init__(self):
        self.plans, self.jobs = [], []

    def since(self, call):
        self.plans.clear()
        self.jobs.clear()
        call()
        plan, = self.plans
        return plan, self.jobs


@pytest.fixture
def seen(backend, monkeypatch):
    what, module = Seen(), backends.load(backend)
    bind = module.bind

    def execute(problem):
        filled = run.execute(problem)
        what.plans.append(filled.plan)
        return filled

    def bound(job):
        what.jobs.append(job)
        return bind(job)

    for public in (api, api_targets):
        monkeypatch.setattr(public, "execute", execute)
    monkeypatch.setattr(module, "bind", bound)
    monkeypatch.setattr(module, "short_cut", contract.no_short_cut, raising=False)
    return what


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_kernel_that_ran(backend, seen, name, dtype):
    operation, inputs = OPERATIONS[name], inputs_of(name, (3, 97), dtype)
    plan, jobs = seen.since(lambda: operation(*inputs))
    assert (plan.backend, plan.kernel, plan.dtype) == (backend, operation.kernel, dtype)
    assert (plan.n_rows, plan.n_classes) == (3, 97)
    assert {(job.kernel, job.dtype.name) for job in jobs} == {(operation.kernel, dtype)}


def test_every_kernel_is_reached():
    assert {operation.kernel for operation in OPERATIONS.values()} == set(contract.KERNELS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_how_the_work_is_cut(backend, seen, name):
    operation = OPERATIONS[name]
    splits = backends.load(backend).SPLITS_CLASSES and operation.kernel not in WHOLE_ROWS
    wakes = splits and backend == "numba"  # its threads, anew for each phase
    with fs.use_num_threads(2):
        for shape, split, n_threads in [((3, 97), "rows", 1), ((64, 20_000), "rows", 2),
                                        ((1, 1_100_000), "classes" if splits and not wakes else "rows", 1 if wakes else 2),
                                        ((2, 1_000_000), "classes" if splits and not wakes else "rows", 2),
                                        ((1, 3_700_000), "classes" if splits else "rows", 2)]:
            plan, jobs = seen.since(lambda s=shape: operation(*inputs_of(name, s, "float32")))
            assert (plan.split, plan.n_threads, plan.staged) == (split, n_threads, False)
            assert all((job.states is not None) == (split == "classes") for job in jobs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_copied_first(backend, seen, name):
    """Rows that a kernel cannot read in place, and only those."""
    operation, inputs = OPERATIONS[name], inputs_of(name, (3, 97), "float32")
    odd = np.asfortranarray(inputs[0])
    tiles = backends.load(backend).TILES and operation.kernel not in WHOLE_ROWS
    plan = seen.since(lambda: operation(odd, *inputs[1:]))[0]
    assert (plan.tiled, plan.staged) == (tiles, not tiles)
    assert seen.since(lambda: operation(inputs[0].astype(">f4"), *inputs[1:]))[0].staged
    wide = np.zeros((6, 200), np.float32)[::2, 1:98]
    assert not seen.since(lambda: operation(wide, *inputs[1:]))[0].staged
    if operation.takes_out:
        assert not seen.since(lambda: operation(*inputs, out=wide))[0].staged
        plan = seen.since(lambda: operation(*inputs, out=odd))[0]
        assert (plan.tiled, plan.staged) == (tiles, not tiles)


def test_rows_side_by_side(seen, backend):
    """How many are computed together, and how they are cut: a cache line of each class, or all that lies between two."""
    tiles = backends.load(backend).TILES
    for shape, n_threads, group, split in [((2, 9, 100), 1, 16, "rows"), ((1, 40_000, 33), 2, 33, "classes"),
                                           ((1, 40_000, 600), 2, 16, "rows"), ((90, 1000, 15), 2, 15, "rows"),
                                           ((1, 600_000, 2), 2, 2, "classes"), ((1, 1_900_000, 2), 2, 2, "classes"),
                                           ((1, 20_000, 100), 2, 16, "rows")]:
        with fs.use_num_threads(2):
            plan, _ = seen.since(lambda s=shape: fs.softmax(np.zeros(s, np.float32), axis=1))
        assert (plan.tiled, plan.staged, plan.n_threads) == (tiles, not tiles, n_threads), shape
        assert not tiles or (plan.group, plan.split) == (group, split), shape


def test_integers_run_in_float64(seen):
    plan, jobs = seen.since(lambda: fs.softmax(np.arange(5)))
    assert plan.dtype == jobs[0].dtype.name == "float64"


def builds():
    """(name, module) of the Cython builds that this CPU can run."""
    if backends.why_not("cython"):
        return []
    cython = backends.load("cython")
    can = importlib.import_module("fastsoftmax.backends._cpu").level()
    return [pytest.param(module, id=name) for level, (name, module) in cython.BUILDS.items() if level <= can]


@pytest.mark.parametrize("module", builds())
def test_every_instruction_set(monkeypatch, module):
    """The kernels of each build that this CPU can run, against the reference, at sizes with and without a tail."""
    kernels, used = importlib.import_module(f"fastsoftmax.backends.{module}"), []
    monkeypatch.setattr(backends.load("cython"), "bind", lambda job: used.append(job) or kernels.bind(job))
    monkeypatch.setattr(backends.load("cython"), "scan_labels", kernels.scan_labels)
    monkeypatch.setattr(backends.load("cython"), "short_cut", contract.no_short_cut)
    with fs.use_backend("cython"):
        for dtype in DTYPES:
            for name, operation in OPERATIONS.items():
                for n_classes in (1, 3, 16, 31, 64, 97, 1025, 4097):
                    inputs = inputs_of(name, (2, n_classes), dtype)
                    checks.check_results(operation(*inputs), operation.right(*inputs), dtype)
    assert {job.kernel for job in used} == set(contract.KERNELS)
