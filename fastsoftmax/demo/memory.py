"""Peak extra memory of a contender, measured in a process of its own: python -m fastsoftmax.demo.memory."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

from .rivals import JOBS, all_rivals


def measure(name, n_rows, sizes):
    """{job: [extra bytes at each number of classes in sizes]} for the contender `name`; sizes ascending."""
    # A fixed threshold makes malloc return every freed table, so that one measurement does not hide the next.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    # -P: the installed package, also from a folder that holds a source tree of the same name
    command = [sys.executable, "-P", "-m", "fastsoftmax.demo.memory", name, str(n_rows), *map(str, sizes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {name} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def _status_bytes(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def _now_and_reset():
    """Resident bytes now; the peak starts afresh where the kernel allows."""
    try:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # proc(5): 5 resets the peak resident set size
    except OSError:
        pass
    try:
        return _status_bytes("VmRSS")
    except OSError:
        return _ru_maxrss()


def _peak():
    try:
        return _status_bytes("VmHWM")
    except OSError:
        return _ru_maxrss()


def _ru_maxrss():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _extra(rival, job, n_rows, n_classes):
    logits = np.empty((n_rows, n_classes), np.float32)
    logits[:] = np.random.default_rng(0).random(n_classes, np.float32)
    labels = np.arange(n_rows) % n_classes
    before = _now_and_reset()
    kept = rival.call(job, logits, labels)  # the result stays alive: a fresh gradient counts
    peak = _peak()
    del kept
    return max(0, peak - before)


def main(argv=None):
    """Print measure()'s answer as JSON."""
    parser = argparse.ArgumentParser(prog="python -m fastsoftmax.demo.memory")
    parser.add_argument("name")
    parser.add_argument("n_rows", type=int)
    parser.add_argument("sizes", type=int, nargs="+")
    arguments = parser.parse_args(argv)
    rival = next(r for r in all_rivals() if r.name == arguments.name)
    # Twice, at a size that is cut into threads: imports, compilation and stacks are not the call's memory.
    for job in JOBS * 2:
        _extra(rival, job, arguments.n_rows, max(arguments.sizes[0], 10_000))
    print(json.dumps({job: [_extra(rival, job, arguments.n_rows, n) for n in arguments.sizes] for job in JOBS}))


if __name__ == "__main__":
    main()
