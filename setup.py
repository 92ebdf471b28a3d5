"""Builds the Cython text once per instruction set; without a compiler the package installs all the same."""

import os
import platform
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# -fno-math-errno and -fno-trapping-math let loops over floor and comparisons vectorise; NaN and inf stay exact.
# -ffp-contract=off: a*b + c is fused where the text says so, so that an element's bits do not depend on where it stands.
# -g0: Python's own flags ask for debug information, ten times the size of the kernels and half the time to compile them.
FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fno-plt"]
X86_LEVELS = {"baseline": [], "v3": ["-march=x86-64-v3"], "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"]}


# FASTSOFTMAX_REQUIRE_COMPILED=1 makes a failed build an error (CI); else Numba or NumPy serve
REQUIRED = os.environ.get("FASTSOFTMAX_REQUIRE_COMPILED") == "1"


class BuildWhatCompiles(build_ext):
    """Compiles the kernels side by side; says what is missing where one cannot be, and goes on."""

    def initialize_options(self):
        super().initialize_options()
        self.parallel = True

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:
            if REQUIRED:
                raise
            print("fastsoftmax: the compiled kernels are not built: install a C compiler (gcc) and reinstall fastsoftmax "
                  f"({error})", file=sys.stderr)


def levels():
    """Instruction sets to build for: every x86-64 level where it applies, else the compiler's own default."""
    return X86_LEVELS if platform.machine().lower() in ("x86_64", "amd64") else {"baseline": []}


def extension(module, flags):
    return Extension(
        f"fastsoftmax.{module}",
        [f"src_cython/{module.rpartition('.')[2].lstrip('_')}.pyx"],
        include_dirs=["src_cython", "fastsoftmax/include", numpy.get_include()],
        extra_compile_args=FLAGS + flags,
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        depends=[str(p) for folder in ("src_cython", "fastsoftmax", "fastsoftmax/include") for p in Path(folder).iterdir()
                 if p.suffix in (".h", ".inc", ".pxd", ".pxi", ".pyx")],
        optional=not REQUIRED,
    )


extensions = [extension("cython_api", []), extension("backends._cpu", []), extension("backends._xla", [])]
extensions += [extension(f"backends._kernels_{level}", flags) for level, flags in levels().items()]
setup(ext_modules=cythonize(extensions, include_path=["src_cython", "."], compiler_directives={"language_level": "3"}),
      cmdclass={"build_ext": BuildWhatCompiles})
