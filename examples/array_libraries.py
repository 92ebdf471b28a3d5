"""The same call on arrays of the libraries that are installed: what goes in, what comes back, whose memory it is."""

import array
from importlib.util import find_spec
from typing import Any

import numpy as np

import fastsoftmax as fs

LOGITS = np.array([[2.0, 1.0, 0.1], [0.0, 3.0, 0.0]], np.float32)
LABELS = np.array([0, 1])


def report(library: str, logits: Any, labels: Any = LABELS, out: Any = None) -> None:
    """One line: the type of what comes back, and whether `out` was written in place."""
    probs = fs.softmax(logits, out=out)
    in_place = "" if out is None else f"in place: {probs is out}"
    print(f"{library:17} {type(probs).__name__:9} {in_place or f'loss {float(fs.cross_entropy(logits, labels)):.4f}'}")


def main() -> None:
    report("numpy", LOGITS)
    report("array.array", array.array("f", LOGITS[0]), out=array.array("f", [0, 0, 0]))
    if find_spec("torch"):
        import torch

        logits = torch.tensor(LOGITS)
        report("torch", logits, torch.tensor(LABELS))
        report("torch, in place", logits, out=logits)
        report("torch.bfloat16", torch.tensor(LOGITS).bfloat16())
        loss, dlogits, lse = fs.cross_entropy_and_grad(torch.tensor(LOGITS), LABELS)
        print(f"  loss {float(loss):.4f}, a gradient of {dlogits.dtype}, shape {tuple(dlogits.shape)}")
    if find_spec("jax"):
        import jax.numpy as jnp

        report("jax", jnp.asarray(LOGITS), jnp.asarray(LABELS))
    if find_spec("array_api_strict"):
        import array_api_strict

        report("array_api_strict", array_api_strict.asarray(LOGITS))
    if find_spec("pandas"):
        import pandas as pd

        report("pandas", pd.DataFrame(LOGITS, columns=["cat", "chicken", "dog"]), pd.Series(LABELS))


if __name__ == "__main__":
    main()
