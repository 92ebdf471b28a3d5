"""The stamp of a report: which machine, which versions, which kernels, when."""

import datetime
import glob
import os
import platform
from importlib import metadata

from .. import backends, threads

PACKAGES = ("numpy", "numba", "scipy", "numexpr", "scikit-learn", "torch", "jax", "ml_dtypes")


def stamp():
    """A dict for results.json; versions of what is not installed are left out."""
    import fastsoftmax as fs

    backend = backends.current()
    return {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gb": _memory_gb(), "caches": _caches(),
            "system": platform.system(), "python": platform.python_version(), "fastsoftmax": fs.__version__,
            "versions": _versions(), "backend": backend,
            "instruction_set": getattr(backends.load(backend), "INSTRUCTION_SET", None),
            "threads": threads.get_num_threads(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


def describe(machine):
    """Two lines for people."""
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items()) or "caches unknown"
    kernels = machine["backend"] + (f" for {machine['instruction_set']}" if machine["instruction_set"] else "")
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (f"{machine['cpu']}, {machine['cores']} cores ({caches}), {machine['system']}; {machine['date'][:10]}.\n"
            f"fastsoftmax {machine['fastsoftmax']}, default backend {kernels}, {machine['threads']} threads; Python "
            f"{machine['python']}, {versions}.")


def stamp_line():
    """The machine in one line."""
    machine = stamp()
    return ", ".join(f"{key} {machine[key]}" for key in ("cpu", "threads", "instruction_set", "numpy") if machine.get(key))


def _cpu():
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _caches():
    """{"L1d": "32K", "L2": ...} of the first core, where the system tells."""
    found = {}
    for folder in sorted(glob.glob("/sys/devices/system/cpu/cpu0/cache/index*")):
        level, kind, size = (_read(os.path.join(folder, name)) for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}" + ("d" if kind == "Data" else "")] = size
    return found


def _read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return "?"


def _memory_gb():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _versions():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
