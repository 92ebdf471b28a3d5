"""Code in a Python process of its own, which finds the tests' helpers and no FASTSOFTMAX_ variable but the forced CPU."""

import os
import subprocess
import sys

OWN = ("FASTSOFTMAX_BACKEND", "FASTSOFTMAX_NUM_THREADS")


def start(code, *arguments, stdin=None, **variables):
    """The running process; `-P`: not what lies in the current folder, but the package that is installed."""
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
    environment |= {"PYTHONPATH": os.path.dirname(__file__), **variables}
    return subprocess.Popen([sys.executable, "-P", "-c", code, *arguments], env=environment, text=True, stdin=stdin,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process):
    """(exit code, what it printed, its errors), within two minutes."""
    try:
        out, error = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, error


def run(code, *arguments, **variables):
    """What it printed; AssertionError with its errors where it failed."""
    exit_code, out, error = end(start(code, *arguments, **variables))
    assert exit_code == 0, error or f"exit code {exit_code}"
    return out
