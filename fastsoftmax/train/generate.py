"""`fastsoftmax generate`: text word by word from a checkpoint."""

import numpy as np

import fastsoftmax as fs

from . import checkpoint
from .corpus import END, WORD

ATTACHED_LEFT, ATTACHED_RIGHT = ".,;:!?)]}%", "([{"


def run(options):
    """Print the prompt and its continuation -> exit status."""
    found = checkpoint.read(options.checkpoint)
    found.model.bias[0] = -np.inf  # a word that is not known cannot be printed
    rng = np.random.default_rng(options.seed)
    vocabulary = found.vocabulary
    start = WORD.findall(options.prompt.lower())
    end = vocabulary.encode(END)
    indices = [end] * found.model.n_previous + [vocabulary.encode(word, unknown=0) for word in start]
    written = Writer()
    for word in start:
        written.add(word)
    for _ in range(options.words):
        k = sample(found.model, indices[-found.model.n_previous:], rng, options.temperature, options.top_k)
        indices.append(k)
        written.add(vocabulary.decode(k))
    print(flush=True)
    return 0


def sample(model, context, rng, temperature=1.0, top_k=None):
    """One class after one context, drawn from the softmax of its logits; from the top_k likeliest if given."""
    logits = model.logits(context)
    if top_k and top_k < len(logits):
        logits[np.argpartition(logits, -top_k)[:-top_k]] = -np.inf
    sums = np.cumsum(fs.softmax(logits, temperature=temperature), dtype=np.float64)
    drawn = min(rng.random() * sums[-1], np.nextafter(sums[-1], 0))  # a product may be rounded up
    return int(np.searchsorted(sums, drawn, side="right"))


class Writer:
    """Prints words as they come: spaces between them except beside punctuation, a new line at the end of a document."""

    def __init__(self):
        self.space = ""

    def add(self, word):
        if word == END:
            print(flush=True)
            self.space = ""
            return
        word = word if word.isprintable() else "?"  # a stranger's words must not steer the terminal
        print(word if word in ATTACHED_LEFT else self.space + word, end="", flush=True)
        self.space = "" if word in ATTACHED_RIGHT else " "
