"""Peak extra memory of a contender, measured in a process of its own: python -m fastsoftmax.bench.memory."""

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np

from .cases import OPERATIONS, Case, make
from .rivals import Call, all_rivals

# For a child whose memory is measured. A fixed threshold makes malloc return every freed table, so that one measurement
# does not hide the next; huge pages would count what lies beside a table, up to 2 MB, as chance has it.
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "NUMPY_MADVISE_HUGEPAGE": "0"}


def measure(rival, case, operations, sizes=()):
    """{operation: [extra bytes at each number of classes in `sizes`, or at the case's own]} for a Rival."""
    asked = {"rival": rival.name, "case": asdict(case), "operations": [o.name for o in operations],
             "sizes": list(sizes) or [case.n_classes]}
    # -P: the installed package, also from a folder that holds a source tree of the same name
    command = [sys.executable, "-P", "-m", "fastsoftmax.bench.memory", json.dumps(asked)]
    done = subprocess.run(command, env=os.environ | EXACT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {rival.name} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _status_bytes(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def now_and_reset():
    """Resident bytes now; the peak starts afresh where the kernel allows."""
    gc.collect()  # else it might give back what was used before between the reset and the reading
    try:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # proc(5): 5 resets the peak resident set size
    except OSError:
        pass
    try:
        return _status_bytes("VmRSS")
    except OSError:
        return _ru_maxrss()


def peak_now():
    try:
        return _status_bytes("VmHWM")
    except OSError:
        return _ru_maxrss()


def _ru_maxrss():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _extra(rival, case, operation):
    """Peak bytes beyond the inputs and the result that was asked for; of an in-place operation that is none."""
    inputs = make(case, operation)
    call = Call(rival, inputs)
    call.result()  # compilation, threads and imports are not the call's memory
    call.refresh()
    before = now_and_reset()
    with call.context():
        result = call.run()  # stays alive: a table of its own counts
    peak = peak_now()
    own = [i for i in (inputs.x, inputs.out) if i is not None]
    table = result[1] if operation.out else None
    fresh = table is not None and not any(np.may_share_memory(call.unwrap(table), i) for i in own)
    return max(0, peak - before - fresh * case.n_bytes)


def main(argv=None):
    """Print measure()'s answer as JSON, for the question that the only argument holds."""
    asked = json.loads((sys.argv[1:] if argv is None else argv)[0])
    rival = next(r for r in all_rivals() if r.name == asked["rival"])
    cases = [replace(Case(**asked["case"]), n_classes=n) for n in asked["sizes"]]
    print(json.dumps({name: [_extra(rival, case, OPERATIONS[name]) for case in cases]
                      for name in asked["operations"]}))


if __name__ == "__main__":
    main()
