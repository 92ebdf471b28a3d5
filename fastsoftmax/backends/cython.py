"""[1] The Cython backend: the best build of the compiled kernels that this CPU can run, or a lower one by wish."""

import importlib
import os
from pathlib import Path

import numpy as np

from ..contract import FINALS, PARTS, n_blocks
from ..dtypes import find
from . import _blas, _steps

BUILDS = {4: ("x86-64-v4", "_kernels_v4"), 3: ("x86-64-v3", "_kernels_v3"), 1: ("baseline", "_kernels_baseline")}
SPLITS_CLASSES = FORGETS_CLASSES = TILES = True


def _level(can):
    """The level to use: FASTSOFTMAX_CPU, where it is set, can only lower it."""
    wish = os.environ.get("FASTSOFTMAX_CPU")
    if not wish:
        return can
    levels = {name: level for level, (name, _) in BUILDS.items()}
    if wish not in levels:
        raise ImportError(f"FASTSOFTMAX_CPU is {wish!r}; allowed are " + ", ".join(map(repr, levels)))
    if levels[wish] > can:
        raise ImportError(f"FASTSOFTMAX_CPU is {wish!r}, but this CPU supports only {BUILDS[can][0]!r}")
    return levels[wish]


def _how_to_get_kernels(folder):
    """What to do where the package, in `folder`, has none."""
    missing = "the compiled kernels are not built"
    if (folder / "src_cython").is_dir():
        return (f"found in its source tree, {folder}, {missing}: start Python elsewhere to use an installed package, or "
                "build them there: pip install -e .")
    return f"{missing}: install a C compiler (gcc) and reinstall fastsoftmax"


def _load():
    package = __name__.rpartition(".")[0]
    try:
        can = importlib.import_module(f"{package}._cpu").level()
        instruction_set, module = BUILDS[_level(can)]
        return instruction_set, importlib.import_module(f"{package}.{module}")
    except ModuleNotFoundError as error:
        raise ImportError(_how_to_get_kernels(Path(__file__).parents[2])) from error


INSTRUCTION_SET, _kernels = _load()
bind = _kernels.bind
look = _kernels.look
scan_labels = _kernels.scan_labels
short_cut = _kernels.short_cut
C_API = _kernels.C_API  # what fastsoftmax.cython_api hands on
LOGITS_PER_THREAD = PHASE_LOGITS_PER_THREAD = _kernels.LOGITS_PER_THREAD
read_pass, update_pass = _kernels.read_pass, _kernels.update_pass
copy_pass, fma_pass = _kernels.copy_pass, _kernels.fma_pass


def products(layer, n_threads):
    """The products of contract.Layer; a byte-swapped classifier is left to BLAS, which gets it some classes at a time."""
    return (_kernels if layer.classifier.dtype.isnative else _blas).products(layer, n_threads)


def step(job):
    """See contract.Step; what is not one run of memory is left to NumPy."""
    return _kernels.step(job, find(job.parameter.dtype).code) if _steps.is_plain(job) else _steps.step(job)


def write_exps(job, tops):
    """See contract.py: the phase WRITE alone, from numbers that are known."""
    n_rows, n_classes = job.first.shape
    states, finals = np.empty((n_rows, n_blocks(n_classes), PARTS)), np.zeros((n_rows, FINALS))
    states[..., 0] = tops[:, None]  # what the exps of a block are relative to
    inert = job.labels == job.ignore_index
    finals.view(np.int64)[:, 0] = np.where(inert, -1, np.arange(n_rows))
    finals[:, 2], finals[:, 4], finals[:, 5] = tops, 1, job.dlosses * (job.grad_scale * job.scale)  # m, a, g
    return bind(job._replace(states=states, finals=finals))


def describe():
    """One line for show_config."""
    return f"available, built for {INSTRUCTION_SET}"
