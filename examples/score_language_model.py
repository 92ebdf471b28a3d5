"""A language model is scored: one reading of the logits of each batch, and no row of them is kept.

The model is the simplest there is: how often which character followed which one in the first half of a text. It predicts
the second half, and `fastsoftmax.score` tells what its predictions are worth; Metrics adds the batches up.
"""

import numpy as np

import fastsoftmax as fs

TEXT = """
Of all who read these words the one who reads them twice will know them best. A model of a language is a table of
odds: given what has been read so far, how likely is each of the signs that may stand next? What stands there is then
a surprise, large or small, and the mean of these surprises, in bits, is what the text would cost to send to someone
who has the same table. Whoever guesses well pays little. Who gives everything the same odds pays the logarithm of the
number of signs, every time, and has learnt nothing at all. What is measured here is how far from that a table of
pairs will go: not far, but farther than one thinks. The rank of the sign that came is another measure, and so is how
often the first guess was right; and whether the odds can be trusted is told by those that were given to the first
guesses, next to how often these were right in the end.
"""
SIGNS = fs.Vocabulary(sorted(set(TEXT)))


def halves(text=TEXT):
    """The signs of a text as indices, in two halves."""
    ids = SIGNS.encode(list(text))
    return ids[: len(ids) // 2], ids[len(ids) // 2 :]


def fit(ids, prior=0.1):
    """(n_signs, n_signs) float32: the logits of the sign that follows each one."""
    pairs = np.full((len(SIGNS), len(SIGNS)), prior)
    np.add.at(pairs, (ids[:-1], ids[1:]), 1.0)
    return np.log(pairs).astype(np.float32)


def evaluate(table, ids, batch=100):
    """MetricValues of all predictions of a sequence, some at a time."""
    metrics = fs.Metrics(hits_at=(1, 5))
    for start in range(0, len(ids) - 1, batch):
        seen, coming = ids[start:-1][:batch], ids[start + 1 :][:batch]
        n_bytes = [len(sign.encode()) for sign in SIGNS.decode(coming)]
        metrics.update(fs.score(table[seen], coming), n_bytes=n_bytes)
    return metrics.compute()


def guesses(table, sign, k=3):
    """The likeliest signs after one, with their probabilities."""
    top = fs.topk(table[SIGNS.encode(sign)], k)
    return list(zip(SIGNS.decode(top.ids), np.exp(top.log_probs).tolist(), strict=True))


def write(table, first, n_signs, seed=0, **options):
    """A text by the model."""
    rng, ids = np.random.default_rng(seed), [SIGNS.encode(first)]
    while len(ids) < n_signs:
        ids.append(int(fs.sample(table[ids[-1]], rng, **options)))
    return "".join(SIGNS.decode(ids))


def main():
    first, second = halves()
    table = fit(first)
    found = evaluate(table, second)
    print(f"{found.n_rows} signs of {len(SIGNS)}: {found.bits_per_byte:.2f} bits a byte, perplexity {found.perplexity:.1f}",
          f"(without a model {len(SIGNS)})")
    print(f"the first guess is right {found.accuracy:.0%} of the time, one of the first five {found.hits[5]:.0%};",
          f"mean reciprocal rank {found.mean_reciprocal_rank:.2f}")
    print(f"the odds of a first guess are off by {found.calibration_error:.3f},",
          f"a prediction leaves {found.entropy:.2f} nats open")
    print("after 'h':", ", ".join(f"{sign!r} {p:.0%}" for sign, p in guesses(table, "h")))
    print("its own words:", repr(write(table, "T", 40, top_p=0.9)))


if __name__ == "__main__":
    main()
