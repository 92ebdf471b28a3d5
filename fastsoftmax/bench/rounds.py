"""Interleaved rounds, and what they say.

A round holds every contender once, so that a slow moment of the machine falls on all alike. Each round has an order of its
own, the same in every run: threads of some libraries go on spinning for a while, to the cost of whoever is next. A short
call, all of which that would fall on, is made for a while before it is timed, as in a program that makes no other.
"""

import contextlib
import time

import numpy as np

TRUSTED_SPREAD = 0.15  # interquartile range over median; beyond it a median says little
ROUNDS = 15  # fewer are too few for quartiles
LEAST_SECONDS = 1e-3  # of one timing: shorter calls are repeated within it
SETTLE_SECONDS = 5e-3  # libgomp's threads spin for 3 ms


class Timed:
    """One thing to time: run() between the clock's two readings, refresh() before them, context() around them.

    `repeats`: whether run() may be called again without a refresh() between. Short calls are, so that they find the
    caches as they leave them. `warm`: whether run() was called before; if not, its first call is not timed, which pays
    for page faults and threads. `pause`: seconds of sleep before a timing, `settle`: of calls after that, which no clock
    sees; none where one call is longer itself.
    """

    def __init__(self, run, refresh=lambda: None, context=contextlib.nullcontext, repeats=True):
        self.run, self.refresh, self.context, self.repeats = run, refresh, context, repeats
        self.pause, self.settle = 0.0, SETTLE_SECONDS if repeats else 0.0
        self.warm, self._number, self._is_long = False, None, False

    def seconds(self):
        """One timing, of one call."""
        if not self.warm:
            self._take(1)
            self.warm = True
        if self._number is None:
            once = self._take(1)
            self._number = max(1, min(1000, int(LEAST_SECONDS / once))) if self.repeats else 1
            if self._number == 1:
                return once
        return self._take(self._number) / self._number

    def _take(self, number):
        self.refresh()
        time.sleep(self.pause)
        with self.context():
            self._settle()
            kept, start = None, time.perf_counter()
            for _ in range(number):
                kept = self.run()
            seconds = time.perf_counter() - start
        del kept  # the clock has stopped: giving a result back to the system is not the call's work
        return seconds

    def _settle(self):
        start = time.perf_counter()
        while not self._is_long and time.perf_counter() - start < self.settle:
            once = time.perf_counter()
            self.run()
            self._is_long = time.perf_counter() - once > self.settle


def interleaved(timed, rounds, tell=lambda text: None):
    """Time each of `timed`, {key: Timed}, once a round; yield after each round {key: [seconds of every round so far]}."""
    taken = {key: [] for key in timed}
    for done in range(rounds):
        tell(f"round {done + 1} of {rounds}")
        keys = list(timed)
        for i in np.random.default_rng(done).permutation(len(keys)):
            taken[keys[i]].append(timed[keys[i]].seconds())
        yield taken


def summary(seconds):
    """{"seconds": all of them, "ms": median, "min_ms", "spread": interquartile range over median}."""
    low, middle, high = np.percentile(seconds, (25, 50, 75))
    return {"seconds": list(seconds), "ms": 1e3 * float(middle), "min_ms": 1e3 * float(min(seconds)),
            "spread": float((high - low) / middle)}


def noisy(summaries):
    """The labels of the timings {label: summary} that spread too much to be trusted."""
    return [label for label, s in summaries.items() if s["spread"] > TRUSTED_SPREAD]


def distrust(rounds, where):
    """Why timings should not be trusted, one sentence, or None; where: {place: noisy labels}."""
    if rounds < ROUNDS:
        return f"{rounds} rounds are fewer than {ROUNDS}: indicative only."
    places = [f"{place + ': ' if place else ''}{', '.join(labels)}" for place, labels in where.items() if labels]
    if not places:
        return None
    return (f"NOT TO BE TRUSTED, because their interquartile range is over {100 * TRUSTED_SPREAD:.0f}% of their median: "
            f"{'; '.join(places)}. Run again on a quiet machine.")
