"""[3] A block of classes at a time, all rows of each: its part of the classifier's gradient is complete at its end.

The logits are computed twice, once for the statistics of the rows and once for the gradients.
"""

import numpy as np

from .. import run
from ..contract import FINALS, FINISH, PARTS, STATES, WRITE, n_blocks
from . import steps
from .results import Blocks, aligned, check_row, chosen, is_real, per_row, place, put


def fill(problem, results, products, kept):
    """Losses and gradients of all rows that count. kept: a Filter, or None."""
    sweeps = Sweeps(problem, results, products, kept)
    sweeps.statistics()
    if problem.optimizer is not None:
        sweeps.gradients(lambda classes, tiles: steps.step(problem, classes, tiles))
    elif problem.wanted:
        sweeps.gradients(lambda classes, tiles: _put(problem, results.gradients[1:], classes, tiles))


def _put(problem, gradients, classes, tiles):
    for g, tile in zip(gradients, tiles, strict=True):
        if g is not None:
            put(g, classes, tile, problem.accumulate)


class Sweeps:
    """Two passes over the classes, with what the rows are known by between them."""

    def __init__(self, problem, results, products, kept):
        p = self.plan = results.plan
        self.problem, self.results, self.products, self.kept = problem, results, products, kept
        self.blocks = Blocks(problem, p)
        self.states = np.empty((p.n_rows, n_blocks(p.n_classes), PARTS))
        self.finals = np.empty((p.n_rows, FINALS))
        self.losses, self.lse = np.empty(p.n_rows), np.empty(p.n_rows)

    def _row_blocks(self):
        """(slice of the rows that count, which they are, how many)."""
        for start in range(0, self.plan.n_rows, self.plan.block_rows):
            stop = min(start + self.plan.block_rows, self.plan.n_rows)
            yield slice(start, stop), chosen(self.results, start, stop), stop - start

    def _class_blocks(self):
        return [(k, min(k + self.plan.block_classes, self.plan.n_classes))
                for k in range(0, self.plan.n_classes, self.plan.block_classes)]

    def _phase(self, phase, some, rows, class0, class1):
        """One phase of the row kernels for a block of logits, in place."""
        count = some.stop - some.start
        logits = self.blocks.logits[:count, :class1 - class0]
        bad = run.fill_phase(self.problem.loss, phase, logits, class0, class1, self.plan.n_classes,
                             *per_row(self.problem, rows), self.losses[some], self.lse[some], self.states[some],
                             self.finals[some])
        check_row(self.problem, rows, bad)

    def _logits(self, rows, count, class0, class1):
        self.blocks.load(self.problem, place(self.problem, rows), count)
        self.products.logits(self.blocks.features, self.blocks.logits, count, class0, class1)

    def statistics(self):
        """Losses and lse."""
        for class0, class1 in self._class_blocks():
            for some, rows, count in self._row_blocks():
                self._logits(rows, count, class0, class1)
                self._phase(STATES, some, rows, class0, class1)
        for some, rows, _ in self._row_blocks():
            self._phase(FINISH, some, rows, 0, min(self.plan.block_classes, self.plan.n_classes))
            self.results.losses[rows], self.results.lse[rows] = self.losses[some], self.lse[some]

    def gradients(self, use):
        """dfeatures; and for each block of classes use(classes, (dclassifier, dbias)), complete, as computed."""
        p, problem, real = self.plan, self.problem, self.problem.loss.dtype.real
        dfeatures = self.results.gradients[0]
        sums = self._sums(dfeatures)
        tile = aligned(p.block_classes, p.n_features, real) if "classifier" in problem.wanted else None
        bias = np.empty(p.block_classes, real) if "bias" in problem.wanted else None
        for class0, class1 in self._class_blocks():
            some_tile, some_bias = (None if a is None else a[:class1 - class0] for a in (tile, bias))
            for some, rows, count in self._row_blocks():
                self._logits(rows, count, class0, class1)
                self._phase(WRITE, some, rows, class0, class1)
                self._phase(WRITE + 1, some, rows, class0, class1)
                block = (self.kept.products_of(self.blocks.logits, self.blocks.features, rows, count, class0, class1)
                         if self.kept else self.products)
                if dfeatures is not None:
                    self._add_dfeatures(block, sums, some, rows, count, class0, class1)
                if tile is not None or bias is not None:
                    block.dclassifier(self.blocks.logits, self.blocks.features, count, some_tile, some_bias,
                                      some.start == 0)
            use(slice(class0, class1), (some_tile, some_bias))
        if sums is not dfeatures:
            for some, rows, _ in self._row_blocks():
                put(dfeatures, place(problem, rows), sums[some], problem.accumulate)

    def _sums(self, dfeatures):
        """Where dfeatures is added up over the blocks of classes: in its place where it can be, else apart."""
        real = self.problem.loss.dtype.real
        if dfeatures is None or (is_real(dfeatures, real) and not self.problem.accumulate):
            return dfeatures
        return np.empty((self.plan.n_rows, self.plan.n_features), real)

    def _add_dfeatures(self, products, sums, some, rows, count, class0, class1):
        at = some if sums is not self.results.gradients[0] else place(self.problem, rows)
        block = self.blocks.dfeatures
        if class0:
            block[:count, :self.plan.n_features] = sums[at]
        products.dfeatures(self.blocks.logits, block, count, class0, class1, class0 == 0)
        sums[at] = block[:count, :self.plan.n_features]
