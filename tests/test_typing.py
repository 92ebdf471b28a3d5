"""The types of the public face: what a strict checker says of it, and that run time agrees."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_overloads

import pytest

import fastsoftmax as fs
from fastsoftmax import backends, check, typing

EXAMPLES = Path(__file__).with_name("typed_examples.py")
ROOT = Path(fs.__file__).resolve().parent.parent

COMMON = "label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0, axis=-1, empty='nan'"
LABELS = f"class_weight=None, sample_weight=None, ignore_index=-100, reduction='mean', {COMMON}"
TARGETS = f"class_weight=None, sample_weight=None, reduction='mean', {COMMON}"
ROWS = "sample_weight=None, reduction={}, softcap=None, temperature=1.0, axis=-1, empty='nan'"
KINDS = f"log_target=False, target_logits=False, reverse=False, {ROWS.format(repr('mean'))}"
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
    "sparse_cross_entropy": f"logits, indices, probs, *, {LABELS}",
    "sparse_cross_entropy_and_grad": f"logits, indices, probs, *, {LABELS}, dlosses=None, out=None",
    "kl_divergence_with_logits": f"target, logits, *, {KINDS}",
    "kl_divergence_with_logits_and_grad": f"target, logits, *, {KINDS}, dlosses=None, out=None",
    "entropy_with_logits": f"logits, *, {ROWS.format(repr('none'))}",
    "entropy_with_logits_and_grad": f"logits, *, {ROWS.format(repr('none'))}, dlosses=None, out=None",
    "cross_entropy_jvp": f"logits, labels, tangents, *, {LABELS}",
    "cross_entropy_hvp": f"logits, labels, tangents, *, {LABELS}, dlosses=None, out=None",
    "entropy": "probs, *, axis=-1, out=None",
    "kl_divergence": "p, q, *, axis=-1, out=None",
    "js_divergence": "p, q, *, axis=-1, out=None",
    "score": "logits, labels, *, top_k=0, ignore_index=-100, temperature=1.0, softcap=None, axis=-1, out=None",
    "topk": "logits, k, *, temperature=1.0, softcap=None, axis=-1, out=None",
    "target_log_prob": "logits, ids, *, temperature=1.0, softcap=None, axis=-1, out=None",
    "sample": "logits, rng, *, temperature=1.0, top_k=0, top_p=1.0, softcap=None, axis=-1, out=None",
    "linear_score": "features, classifier, labels, *, top_k=0, bias=None, ignore_index=-100, softcap=None, "
                    "temperature=1.0, shift=0, max_workspace_bytes=67108864, out=None",
    "from_one_hot": "one_hot",
    "set_backend": "name",
    "use_backend": "name",
    "set_num_threads": "n",
    "use_num_threads": "n",
    "get_num_threads": "",
    "warmup": "",
    "show_config": "",
}
OURS = {"row_state", "merge_states", "cross_entropy_compact_grad"}  # what gives objects of ours, whatever the arrays are
OVERLOADED = [name for name, f in vars(fs).items()
              if inspect.isfunction(f) and hasattr(f, "__wrapped__") and name not in OURS]


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signature_is_the_promised_one(name):
    signature = inspect.signature(getattr(fs, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == f"({SIGNATURES[name]})"


def parameters_of(function):
    names = {**vars(typing), **inspect.unwrap(function).__globals__}  # an alias may be a text of its own module's
    return inspect.signature(function, eval_str=True, globals=names).parameters.values()


@pytest.mark.parametrize("name", OVERLOADED)
def test_each_overload_takes_the_keywords_of_the_function(name):
    function = getattr(fs, name)
    keywords = {p.name: p for p in parameters_of(function) if p.kind is p.KEYWORD_ONLY}
    for overload in get_overloads(function):
        spelt = {p.name: p.default for p in parameters_of(overload) if p.kind is p.KEYWORD_ONLY}
        options = [get_args(p.annotation)[0] for p in parameters_of(overload) if p.kind is p.VAR_KEYWORD]
        shared = {key: kind for taken in options for key, kind in inspect.get_annotations(taken).items()}
        assert sorted([*spelt, *shared]) == sorted(keywords)
        assert shared == {key: keywords[key].annotation for key in shared}
        for key, default in spelt.items():  # none where the overload is that of another value
            assert default in (..., inspect.Parameter.empty, keywords[key].default)


@pytest.mark.parametrize("name", OVERLOADED)
def test_the_first_overload_is_that_of_other_libraries(name):
    first, *others = [next(iter(parameters_of(overload))).annotation for overload in get_overloads(getattr(fs, name))]
    assert first is typing.ForeignT and others and first not in others


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
