"""Trains the next-word model for a stated time, and judges it on words that it has never seen."""

import time
from collections import Counter

import numpy as np

from .model import N_PREVIOUS, Model

JUDGED = 4_096  # held-out words that the perplexities are taken over
CHECKS = 8  # looks at the held-out words in the course of the training


def run(training, corpus, *, seconds, batch, seed, check=lambda: None):
    """Fill the dict `training` as it goes; perplexities are exp of the mean loss over the same held-out words."""
    rng = np.random.default_rng(seed)
    where = np.arange(N_PREVIOUS, len(corpus.held_out))
    if len(where) > JUDGED:
        where = np.sort(rng.choice(where, JUDGED, replace=False))
    judged = _examples(corpus.held_out, where)
    unigram = corpus.unigram()
    training |= {"corpus": corpus.name, "n_classes": len(corpus.vocabulary), "n_train_words": len(corpus.train),
                 "n_held_out_words": len(where), "uniform_perplexity": float(len(corpus.vocabulary)),
                 "unigram_perplexity": float(np.exp(-np.log(unigram[judged[1]]).mean())),
                 "unknown_share": float((judged[1] == 0).mean()),
                 "held_out_perplexity": None, "words": 0, "seconds": 0.0, "batch": batch,
                 "curve": {"words": [], "seconds": [], "loss": []}, "checks": {"words": [], "perplexity": []},
                 "predictions": []}
    model = Model(unigram, seed=seed)
    _check(training, model, judged)
    _loop(training, model, corpus, judged, seconds, rng, check)
    _check(training, model, judged)
    for context in _contexts(corpus):
        best, probs = model.predict(context)
        training["predictions"].append({"context": corpus.vocabulary.decode(context),
                                        "next": corpus.vocabulary.decode(best), "probs": probs.tolist()})


def _loop(training, model, corpus, judged, seconds, rng, check):
    from tqdm import tqdm

    start, paused, smooth, next_check = time.perf_counter(), 0.0, None, seconds / CHECKS
    curve, n_rows = training["curve"], training["batch"]
    with tqdm(total=seconds, bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}", mininterval=0.5) as bar:
        while training["seconds"] < seconds:
            check()
            where = rng.integers(N_PREVIOUS, len(corpus.train), n_rows)
            loss = model.step(*_examples(corpus.train, where))
            smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
            elapsed = time.perf_counter() - start - paused
            bar.update(min(elapsed, seconds) - bar.n)
            training["words"], training["seconds"] = training["words"] + n_rows, elapsed
            curve["words"].append(training["words"])
            curve["seconds"].append(elapsed)
            curve["loss"].append(loss)
            bar.set_postfix_str(f"loss {smooth:.3f}, perplexity {np.exp(smooth):.0f}, "
                                f"{training['words'] / elapsed:.0f} words/s", refresh=False)
            if next_check <= elapsed < seconds:
                next_check += seconds / CHECKS
                _check(training, model, judged)
                paused = time.perf_counter() - start - elapsed


def _examples(words, where):
    """contexts (n, N_PREVIOUS) and labels (n,) for the words at the positions `where`."""
    return words[where[:, None] + np.arange(-N_PREVIOUS, 0)], words[where]


def _check(training, model, judged):
    perplexity = float(np.exp(model.losses(*judged).mean()))
    training["checks"]["words"].append(training["words"])
    training["checks"]["perplexity"].append(perplexity)
    training["held_out_perplexity"] = perplexity


def _contexts(corpus, n=6):
    """The commonest runs of held-out words, letters only, no two with the same ending."""
    runs = Counter(zip(*(corpus.held_out[i:].tolist() for i in range(N_PREVIOUS)), strict=False))
    found = {}
    for context, _ in runs.most_common():
        if all(word.isalpha() for word in corpus.vocabulary.decode(list(context))):
            found.setdefault(context[-1], context)
        if len(found) == n:
            break
    return list(found.values())
