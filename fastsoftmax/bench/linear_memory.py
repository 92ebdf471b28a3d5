"""Peak extra memory of loss and both gradients, in a process of its own: python -m fastsoftmax.bench.linear_memory."""

import json
import os
import subprocess
import sys
from dataclasses import astuple

import numpy as np

from .linear_rivals import GRADIENTS, Inputs, Size, contenders
from .memory import EXACT, now_and_reset, peak_now
from .rivals import Call


def measure(rival, size):
    """Peak bytes of a Rival's call beyond inputs and gradients."""
    asked = {"rival": rival.name, "size": astuple(size)}
    # -P: the installed package, also from a folder that holds a source tree of the same name
    command = [sys.executable, "-P", "-m", "fastsoftmax.bench.linear_memory", json.dumps(asked)]
    done = subprocess.run(command, env=os.environ | EXACT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {rival.name} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _extra(rival, size):
    inputs = Inputs(size, GRADIENTS)
    call = Call(rival, inputs)
    call.result()  # compilation, threads and imports are not the call's memory
    before = now_and_reset()
    with call.context():
        result = call.run()  # stays alive: gradients of its own are counted, then taken off
    peak = peak_now()
    gradients = [call.unwrap(g) for g in result[1:]]
    fresh = sum(g.nbytes for g in gradients if not any(np.may_share_memory(g, out) for out in inputs.out))
    return max(0, peak - before - fresh) + inputs.scratch_bytes


def main(argv=None):
    """Print measure()'s answer as JSON, for the question that the only argument holds."""
    asked = json.loads((sys.argv[1:] if argv is None else argv)[0])
    rival = next(r for r in contenders() if r.name == asked["rival"])
    print(json.dumps(_extra(rival, Size(*asked["size"]))))


if __name__ == "__main__":
    main()
