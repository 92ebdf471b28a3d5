"""The types of the public face: what a strict checker says of it, and that run time agrees."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import fastsoftmax as fs
from fastsoftmax import backends, check, typing

EXAMPLES = Path(__file__).with_name("typed_examples.py")
ROOT = Path(fs.__file__).resolve().parent.parent

COMMON = "label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty='nan'"
LABELS = f"class_weight=None, sample_weight=None, ignore_index=-100, reduction='mean', {COMMON}"
TARGETS = f"class_weight=None, sample_weight=None, reduction='mean', {COMMON}"
SIGNATURES = {
    "softmax": "logits, *, axis=-1, temperature=1.0, out=None",
    "log_softmax": "logits, *, axis=-1, temperature=1.0, out=None",
    "logsumexp": "logits, *, axis=-1, keepdims=False",
    "softmax_grad": "probs, dprobs, *, axis=-1, out=None",
    "log_softmax_grad": "log_probs, dlog_probs, *, axis=-1, out=None",
    "cross_entropy": f"logits, labels, *, {LABELS}",
    "cross_entropy_and_grad": f"logits, labels, *, {LABELS}, dlosses=None, out=None",
    "soft_cross_entropy": f"logits, target_probs, *, {TARGETS}",
    "soft_cross_entropy_and_grad": f"logits, target_probs, *, {TARGETS}, dlosses=None, out=None",
    "entropy": "probs, *, axis=-1",
    "kl_divergence": "p, q, *, axis=-1",
    "from_one_hot": "one_hot",
    "set_backend": "name",
    "use_backend": "name",
    "set_num_threads": "n",
    "use_num_threads": "n",
    "get_num_threads": "",
    "warmup": "",
    "show_config": "",
}
OPTIONS = {
    "softmax": typing.SoftmaxOptions,
    "log_softmax": typing.SoftmaxOptions,
    "softmax_grad": typing.PairOptions,
    "log_softmax_grad": typing.PairOptions,
    "cross_entropy": typing.Options,
    "cross_entropy_and_grad": typing.GradOptions,
    "soft_cross_entropy": typing.SoftOptions,
    "soft_cross_entropy_and_grad": typing.SoftGradOptions,
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signature_is_the_promised_one(name):
    signature = inspect.signature(getattr(fs, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == f"({SIGNATURES[name]})"


@pytest.mark.parametrize("name", OPTIONS)
def test_the_typed_options_are_the_keywords(name):
    parameters = inspect.signature(getattr(fs, name)).parameters.values()
    keywords = {p.name: p.annotation for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    keywords.pop("reduction", None)  # it chooses the overload
    assert inspect.get_annotations(OPTIONS[name]) == keywords


def test_the_literals_are_the_allowed_values():
    assert get_args(typing.BackendName) == ("auto", *backends.NAMES)
    assert (check.REDUCTIONS, check.EMPTIES) == (("none", "mean", "sum"), ("nan", "zero"))


def test_typed_examples_run():
    spec = importlib.util.spec_from_file_location("typed_examples", EXAMPLES)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    examples = [f for f in vars(module).values() if inspect.isfunction(f) and f.__annotations__ == {"return": None}]
    assert examples
    for run in examples:
        run()


def strict(file, cache):
    """Lines of the file that mypy refuses, against the package that this process has imported."""
    search = {} if ROOT.name == "site-packages" else {"MYPYPATH": str(ROOT)}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent",
               f"--cache-dir={cache}", str(file)]
    done = subprocess.run(command, env={**os.environ, **search}, cwd=file.parent, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {int(line) for line in re.findall(rf"^{file.name}:(\d+): error", done.stdout, re.M)}, done.stdout


def test_a_strict_checker_accepts_right_uses_and_refuses_each_wrong_one(tmp_path):
    pytest.importorskip("mypy")
    assert (ROOT / "fastsoftmax" / "py.typed").exists()
    text = EXAMPLES.read_text()
    copy = tmp_path / EXAMPLES.name
    copy.write_text(text)
    assert strict(copy, tmp_path) == (set(), "Success: no issues found in 1 source file\n")
    copy.write_text(text.replace("# type: ignore[", "# ["))
    wrong = {i for i, line in enumerate(text.splitlines(), 1) if "# type: ignore[" in line}
    assert wrong and strict(copy, tmp_path)[0] == wrong
