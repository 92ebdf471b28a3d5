"""Trains the next-word model within stated limits, and judges it on words that it has never seen."""

import math
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..bench.session import CommandError, Stop
from .model import Model, make_optimizers

JUDGED = 4_096  # held-out words that the perplexities are taken over
CURVE = 1.002  # growth of the words from one point of the curve to the next: its axis is logarithmic
LARGEST = 100.0  # nats; to guess among all words costs 14: a mean loss beyond this never comes back


@dataclass(frozen=True)
class Settings:
    """What the numbers of a training depend on, beside its corpus; named as the options of `fastsoftmax train`."""

    context: int = 3
    width: int = 48
    embedding: int = 32
    optimizer: str = "adagrad"
    learning_rate: float = 0.1
    batch: int = 256
    seed: int = 0


class Run:
    """A training as it stands: model, optimizers, random numbers, and the dict `training` that the report shows."""

    def __init__(self, corpus, settings, training):
        self.corpus, self.settings, self.training = corpus, settings, training
        if settings.context >= min(len(corpus.train), len(corpus.held_out)):
            raise CommandError(f"a context of {settings.context} words is too long for the "
                               f"{len(corpus.held_out)} held-out words")
        unigram = corpus.unigram()
        try:
            self.model = Model.new(unigram, n_previous=settings.context, n_embedding=settings.embedding,
                                   n_features=settings.width, seed=settings.seed)
        except MemoryError as error:
            raise CommandError(f"the model does not fit in memory: {error}") from error
        self.optimizers = make_optimizers(settings.optimizer, settings.learning_rate)
        self.rng = np.random.default_rng(settings.seed)
        where = np.arange(settings.context, len(corpus.held_out))
        if len(where) > JUDGED:  # with random numbers of their own: a training that goes on judges the same words
            where = np.sort(np.random.default_rng(settings.seed).choice(where, JUDGED, replace=False))
        self.judged = self._examples(corpus.held_out, where)
        training |= {"corpus": corpus.name, "n_classes": len(corpus.vocabulary), "n_train_words": len(corpus.train),
                     "n_held_out_words": len(where), "uniform_perplexity": float(len(corpus.vocabulary)),
                     "unigram_perplexity": float(np.exp(-np.log(unigram[self.judged[1]]).mean())),
                     "unknown_share": float((self.judged[1] == 0).mean()), "batch": settings.batch,
                     "held_out_perplexity": None, "steps": 0, "words": 0, "seconds": 0.0,
                     "curve": {"words": [], "seconds": [], "loss": []}, "checks": {"words": [], "perplexity": []},
                     "predictions": []}
        self._losses = []  # since the last point of the curve

    def step(self):
        """One step on a batch of words drawn at random -> its mean loss in nats."""
        begin, training, n_rows = time.perf_counter(), self.training, self.settings.batch
        where = self.rng.integers(self.settings.context, len(self.corpus.train), n_rows)
        with np.errstate(all="ignore"):  # what is not finite is found below
            loss = self.model.step(*self._examples(self.corpus.train, where), self.optimizers)
        training["steps"] += 1
        training["words"] += n_rows
        training["seconds"] += time.perf_counter() - begin
        if not loss < LARGEST:
            raise self.diverged(f"the loss is {loss:g}")
        curve = training["curve"]
        self._losses.append(loss)
        if not curve["words"] or training["words"] >= CURVE * curve["words"][-1]:
            for name, value in (("words", training["words"]), ("seconds", training["seconds"]),
                                ("loss", float(np.mean(self._losses)))):
                curve[name].append(value)
            self._losses.clear()
        return loss

    def diverged(self, what):
        """The error to raise."""
        return CommandError(f"{what} at step {self.training['steps']:,}: the learning rate of "
                            f"{self.settings.learning_rate:g} is too high")

    def evaluate(self):
        """Perplexity on the held-out words: exp of the mean loss, over the same words each time."""
        training, checks = self.training, self.training["checks"]
        if checks["words"] and checks["words"][-1] == training["words"]:
            return
        with np.errstate(all="ignore"):
            loss = float(self.model.losses(*self.judged).mean())
        if not loss < LARGEST:
            raise self.diverged(f"the held-out loss is {loss:g}")
        perplexity = math.exp(loss)
        checks["words"].append(training["words"])
        checks["perplexity"].append(perplexity)
        training["held_out_perplexity"] = perplexity

    def predict(self):
        """What the model says after the commonest runs of held-out words."""
        decode = self.corpus.vocabulary.decode
        self.training["predictions"] = [
            {"context": decode(list(context)), "next": decode(best), "probs": probs.tolist()}
            for context in _contexts(self.corpus, self.settings.context)
            for best, probs in [self.model.predict(context)]]

    def _examples(self, words, where):
        """contexts (n, n_previous) and labels (n,) for the words at the positions `where`."""
        return words[where[:, None] + np.arange(-self.settings.context, 0)], words[where]


def train(run, *, seconds=math.inf, steps=math.inf, evaluate_every=math.inf, stop=None, save=None,
          save_every=math.inf):
    """Step until the run's training took `seconds` or `steps` in all; evaluations and save() are not counted in.

    evaluate_every is in seconds of training; save() is called first, every save_every seconds by the clock, and last.
    """
    from tqdm import tqdm

    stop, training, smooth = stop or Stop(), run.training, None
    run.evaluate()
    saved = -math.inf
    next_check = training["seconds"] + evaluate_every
    with tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {desc}", mininterval=0.5) as bar:
        while training["seconds"] < seconds and training["steps"] < steps:
            if save and time.monotonic() - saved >= save_every:
                with stop.whole():
                    save()
                saved = time.monotonic()
            with stop.whole():  # Ctrl-C in the middle of a step would leave half of the classifier stepped
                loss = run.step()
            smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
            done = min(1.0, max(training["seconds"] / seconds, training["steps"] / steps))
            bar.update(done - bar.n)
            bar.set_description_str(_progress(training, smooth), refresh=False)
            if next_check <= training["seconds"] < seconds:
                next_check += evaluate_every
                run.evaluate()
    run.evaluate()
    if save:
        with stop.whole():
            save()
    run.predict()


def _progress(training, smooth):
    return (f"step {training['steps']:,}, {training['seconds']:.0f} s, loss {smooth:.3f}, perplexity "
            f"{math.exp(smooth):.0f}, {training['words'] / training['seconds']:.0f} words/s")


def _contexts(corpus, n_previous, n=6):
    """The commonest runs of held-out words, letters only, no two with the same ending."""
    runs = Counter(zip(*(corpus.held_out[i:].tolist() for i in range(n_previous)), strict=False))
    found = {}
    for context, _ in runs.most_common():
        if all(word.isalpha() for word in corpus.vocabulary.decode(list(context))):
            found.setdefault(context[-1], context)
        if len(found) == n:
            break
    return list(found.values())
