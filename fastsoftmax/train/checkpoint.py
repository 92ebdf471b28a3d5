"""Checkpoints: one .npz of plain arrays, written whole or not at all, and safe to read from strangers (no pickle).

format_version, n_steps      ()  int64
vocabulary                   UTF-8 bytes: the words, joined by newlines
options, rng, history        UTF-8 bytes of JSON: the Settings, the corpus; state of the random numbers; the report's curves
parameter.<name>             float32
optimizer.<name>.<key>       what the optimizer knows of a parameter; none before the first step
"""

import contextlib
import json
import math
import os
import tokenize
import zipfile
from dataclasses import asdict, dataclass, fields

import numpy as np

import fastsoftmax as fs

from ..bench.session import CommandError
from .corpus import END, UNKNOWN, WORD
from .loop import LARGEST, Settings
from .model import Model, make_optimizers

NAME = "checkpoint.npz"
VERSION = 1
HISTORY = {"curve": ("words", "seconds", "loss"), "checks": ("words", "perplexity")}
BROKEN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, OSError, MemoryError, RuntimeError,
          SyntaxError, tokenize.TokenError, zipfile.BadZipFile)  # what a damaged archive, header, JSON text or array raises


@dataclass(frozen=True)
class Checkpoint:
    """What read() found, all of it verified. training: the part of Run.training that goes on."""

    settings: Settings
    vocabulary: fs.Vocabulary
    digest: str
    model: Model
    optimizers: dict
    rng: np.random.Generator
    training: dict


def write(path, run):
    """Write the run's checkpoint: a reader, or a run after a crash, finds the old file or the new one."""
    part, arrays = path + ".part", _arrays(run)
    if not all(np.isfinite(a).all() for a in arrays.values()):
        raise run.diverged("the model is no longer finite")
    try:
        with open(part, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise CommandError(f"cannot write the checkpoint {path}: {error.strerror or error}") from error


def _sync_folder(path):
    """The new name itself must survive a crash too."""
    if os.name == "posix":
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _arrays(run):
    training = run.training
    options = asdict(run.settings) | {"corpus": run.corpus.digest}
    history = {"seconds": training["seconds"], **{name: training[name] for name in HISTORY}}
    arrays = {"format_version": np.int64(VERSION), "n_steps": np.int64(training["steps"]),
              "vocabulary": _bytes("\n".join(run.corpus.vocabulary.classes)), "options": _json(options),
              "rng": _json(run.rng.bit_generator.state), "history": _json(history)}
    arrays |= {f"parameter.{name}": a for name, a in run.model.parameters().items()}
    for optimizer in run.optimizers.values():
        for name, known in optimizer.state.items():
            arrays |= {f"optimizer.{name}.{key}": a for key, a in known.items()}
    return arrays


def _bytes(text):
    return np.frombuffer(text.encode("utf-8"), np.uint8)


def _json(value):
    return _bytes(json.dumps(value, allow_nan=False))


def read(path):
    """The checkpoint in a file, or in a folder that `fastsoftmax train` wrote; CommandError for anything else."""
    path = os.path.join(path, NAME) if os.path.isdir(path) else path
    try:
        file = open(path, "rb")
    except OSError as error:
        raise CommandError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    try:
        with file:
            return _parse(_load(file))
    except BROKEN as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise CommandError(f"{path} is not a whole checkpoint of fastsoftmax train: {reason!r}") from error


def _load(file):
    """{name: array}; nothing is allocated beyond the size of the file, whatever its headers say."""
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                _expect(info.compress_type == zipfile.ZIP_STORED, "it is compressed")
                version = np.lib.format.read_magic(member)
                _expect(version == (1, 0), "an array of another version")
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                _expect(not dtype.hasobject, "it holds objects")
                _expect(math.prod(shape) * dtype.itemsize == info.file_size - member.tell(), "an array is cut short")
        _expect(sum(info.file_size for info in archive.infolist()) <= file.seek(0, os.SEEK_END), "its arrays overlap")
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _parse(arrays):
    version = int(_array(arrays, "format_version", (), np.int64))
    _expect(version == VERSION, f"its format is {version}, and this fastsoftmax reads {VERSION}")
    options = _parsed(arrays, "options")
    digest = options.pop("corpus")
    settings = Settings(**options)
    for field in fields(Settings):
        _expect(type(options[field.name]) is field.type, f"option {field.name}")
    vocabulary = _vocabulary(_text(arrays, "vocabulary"))
    n, (n_inputs, width) = len(vocabulary), (settings.context * settings.embedding, settings.width)
    shapes = {"embedding": (n, settings.embedding), "hidden": (n_inputs + 1, width), "classifier": (n, width), "bias": (n,)}
    model = Model(**{name: _array(arrays, f"parameter.{name}", shape) for name, shape in shapes.items()})
    n_steps = int(_array(arrays, "n_steps", (), np.int64))
    _expect(n_steps >= 0, "its number of steps")
    optimizers = _optimizers(arrays, settings, shapes, n_steps)
    rng = np.random.default_rng()
    rng.bit_generator.state = _parsed(arrays, "rng")
    training = _history(_parsed(arrays, "history")) | {"steps": n_steps, "words": n_steps * settings.batch}
    return Checkpoint(settings, vocabulary, digest, model, optimizers, rng, training)


def _optimizers(arrays, settings, shapes, n_steps):
    optimizers = make_optimizers(settings.optimizer, settings.learning_rate)
    for name, shape in shapes.items() if n_steps else ():
        optimizer = optimizers["classifier" if name == "bias" else name]
        known = optimizer.state[name] = {"n_steps": _array(arrays, f"optimizer.{name}.n_steps", (), np.int64)}
        known |= {key: _array(arrays, f"optimizer.{name}.{key}", shape) for key in optimizer.NAMES}
        _expect(known["n_steps"] == n_steps, f"the optimizer's steps of {name}")
    return optimizers


def _expect(condition, text):
    if not condition:
        raise ValueError(text)


def _array(arrays, name, shape, dtype=np.float32):
    array = np.require(arrays[name], requirements="CW")
    _expect(array.dtype == dtype and array.shape == shape, f"{name} is {array.dtype}{list(array.shape)}, not {list(shape)}")
    _expect(np.isfinite(array).all(), f"{name} is not finite")
    return array


def _text(arrays, name):
    _expect(arrays[name].dtype == np.uint8, f"{name} is not bytes")
    return arrays[name].tobytes().decode("utf-8")


def _parsed(arrays, name):
    return json.loads(_text(arrays, name))


def _vocabulary(text):
    words = text.split("\n")
    _expect(words[:2] == [UNKNOWN, END], "its vocabulary has no unknown word")
    _expect(all(WORD.fullmatch(word) for word in words[2:]), "its vocabulary holds what is not a word")
    return fs.Vocabulary(words)


def _history(found):
    for name, columns in HISTORY.items():
        table = [found[name][column] for column in columns]
        _expect(all(type(x) in (int, float) and 0 <= x < 1e50 for column in table for x in column), f"its {name}")
        _expect(len({len(column) for column in table}) == 1, f"its {name}")
    _expect(all(x < LARGEST for x in found["curve"]["loss"]), "its losses")
    _expect(0 <= found["seconds"] < 1e50, "its seconds")
    tables = {name: {column: found[name][column] for column in columns} for name, columns in HISTORY.items()}
    return tables | {"seconds": float(found["seconds"])}


def check_settings(found, settings, path):
    """Raise CommandError where a checkpoint was made with another option."""
    for name, ours in asdict(settings).items():
        theirs = getattr(found.settings, name)
        if theirs != ours:
            option = "--" + name.replace("_", "-")
            raise CommandError(f"cannot resume {path}: it was made with {option} {theirs}, not {ours}")


def resume(run, found, path):
    """Make a new run what the checkpoint's was; CommandError where the two differ in an option or in their text."""
    check_settings(found, run.settings, path)
    if found.vocabulary.classes != run.corpus.vocabulary.classes or found.digest != run.corpus.digest:
        raise CommandError(f"cannot resume {path}: it was made from another --corpus or with another --vocabulary "
                           f"({len(found.vocabulary):,} classes there, {len(run.corpus.vocabulary):,} here)")
    run.model, run.optimizers, run.rng = found.model, found.optimizers, found.rng
    run.training |= found.training
    if found.training["checks"]["perplexity"]:
        run.training["held_out_perplexity"] = found.training["checks"]["perplexity"][-1]
