"""What the sdist and the wheel hold: python check_dist.py SOURCE DIST. All that is needed, nothing that is not."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

OUTSIDE_SDIST = (".ci/", ".gitignore")
INSTALLED = {".py", ".pyi", ".pxd", ".h", ".so", ".typed"}  # headers and .pxd are for those who build on the kernels


def in_sdist(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def in_wheel(dist):
    (path,) = dist.glob("*.whl")
    return {name for name in zipfile.ZipFile(path).namelist() if ".dist-info/" not in name}


def main(source, dist):
    listed = subprocess.run(["git", "ls-files"], cwd=source, capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.splitlines() if not name.startswith(OUTSIDE_SDIST)}
    sdist, wheel = in_sdist(dist), in_wheel(dist)
    package = {name for name in tracked if name.startswith("fastsoftmax/")}
    kernels = {Path(name).name.split(".")[0].lstrip("_") for name in wheel if name.endswith(".so")}
    texts = {Path(name).stem for name in tracked if name.startswith("src_cython/") and name.endswith(".pyx")}
    wrong = {
        "missing from the sdist": tracked - sdist,
        "generated, but in the sdist": {name for name in sdist if name.endswith((".c", ".so", ".pyc"))} - tracked,
        "missing from the wheel": (package | {"fastsoftmax/py.typed"}) - wheel,
        "kernels missing from the wheel": texts - kernels,
        "strange in the wheel": {name for name in wheel if not name.startswith("fastsoftmax/")
                                 or PurePosixPath(name).suffix not in INSTALLED},
    }
    for what, names in wrong.items():
        if names:
            print(f"{what}: {', '.join(sorted(names))}")
    print(f"sdist of {len(sdist)} files, wheel of {len(wheel)}, {len(kernels)} of them compiled")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
