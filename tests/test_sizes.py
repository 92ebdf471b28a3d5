"""Every operation at sizes around the vector widths and the blocks, and never a step outside its row."""

import sys

import checks
import child
import numpy as np
import pytest
from operations import DTYPES, OPERATIONS, inputs_of

import fastsoftmax as fs

SHORT = [*range(1, 18), 31, 32, 33, 63, 64, 65, 97, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025]
LONG = [4095, 4096, 4097, 65_535, 65_536, 65_537]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_sizes_that_straddle_vectors_and_blocks(every_backend, name, dtype):
    """The result, and its neighbours in memory: rows of `out` lie in a wider array, whose other columns stay."""
    operation = OPERATIONS[name]
    for n_classes in SHORT if dtype == "float16" else SHORT + LONG:
        inputs = inputs_of(name, (2 if n_classes < 5000 else 1, n_classes), dtype)
        right = operation.right(*inputs)  # it takes longer than the kernels
        for backend in every_backend:
            with fs.use_backend(backend):
                got = operation(*inputs)
                checks.check_results(got, right, dtype)
                if operation.takes_out:
                    wide = np.full((len(inputs[0]), n_classes + 64), 7, inputs[0].dtype)
                    checks.check_same_bits(operation(*inputs, out=wide[:, 32:-32]), got)
                    assert (wide[:, :32] == 7).all() and (wide[:, -32:] == 7).all()


GUARDED = """
import sys, fastsoftmax as fs
from guarded import guarded
from operations import DTYPES, OPERATIONS, inputs_of

fs.set_backend(sys.argv[1])
for dtype in DTYPES:
    for name, operation in OPERATIONS.items():
        for n_classes in (1, 2, 3, 5, 7, 9, 15, 16, 17, 31, 33, 63, 65, 127, 129, 1025, 4097):
            for at_end in (True, False):
                plain = inputs_of(name, (3, n_classes), dtype)
                inputs = [guarded(a, at_end) for a in plain]
                options = {"out": guarded(plain[0], at_end)} if operation.takes_out else {}
                for a, b in zip(operation(*inputs, **options), operation(*plain), strict=True):
                    assert a.tobytes() == b.tobytes(), (dtype, name, n_classes)
print("inside")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no mprotect")
def test_no_kernel_reads_or_writes_outside_its_rows(backend):
    """A touch beyond the rows ends the child with a segmentation fault."""
    assert child.run(GUARDED, backend) == "inside\n"


GUARDED_MORE = """
import sys, numpy as np, fastsoftmax as fs
from functools import partial
from guarded import guarded
from operations import DTYPES, make

bent = dict(softcap=5.0, z_loss=0.01, label_smoothing=0.1)
calls = [(partial(fs.kl_divergence_with_logits_and_grad, **how), (kind, "logits"))
         for kind, how in (("probs", dict()), ("log_probs", dict(log_target=True)), ("upstream", dict(target_logits=True)),
                           ("probs", dict(reverse=True)), ("upstream", dict(target_logits=True, reverse=True)))]
calls += [(partial(f, **how), ("logits", "labels", "upstream")) for how in (dict(), bent)
          for f in (fs.cross_entropy_hvp, fs.cross_entropy_jvp)]
calls += [(f, ("logits", "labels")) for f in (
              lambda x, y: fs.sparse_cross_entropy_and_grad(x, y[:, None], np.ones((3, 1)), label_smoothing=0.1),
              partial(fs.score, top_k=1), partial(fs.score, softcap=5.0))]
calls += [(lambda x: fs.sample(x, np.random.default_rng(0)), ("logits",)),
          (lambda x: fs.sample(x, np.random.default_rng(0), top_p=0.7), ("logits",))]
fs.set_backend(sys.argv[1])
for dtype in DTYPES:
    for j, (call, kinds) in enumerate(calls):
        for n_classes in (1, 2, 3, 5, 7, 9, 15, 16, 17, 31, 33, 63, 65, 1025, 4097):
            plain = [make(kind, (3, n_classes), dtype) for kind in kinds]
            want = call(*plain)
            for at_end in (True, False):
                got = call(*(guarded(a, at_end) for a in plain))
                for a, b in zip(got, want) if isinstance(got, tuple) else [(got, want)]:
                    assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), (dtype, j, n_classes)
print("inside")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no mprotect")
def test_no_other_target_or_score_reads_outside_its_rows(backend):
    assert child.run(GUARDED_MORE, backend) == "inside\n"
