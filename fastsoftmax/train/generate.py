"""`fastsoftmax generate`: text word by word from a checkpoint."""

import numpy as np

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
        k = found.model.sample(indices[-found.model.n_previous:], rng, options.temperature, options.top_k or 0)
        indices.append(k)
        written.add(vocabulary.decode(k))
    print(flush=True)
    return 0


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
