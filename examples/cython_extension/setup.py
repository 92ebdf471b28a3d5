"""python setup.py build_ext --inplace: the kernels from Cython (loss_and_grad.pyx) and from plain C (perplexity.c)."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastsoftmax

setup(name="fastsoftmax-extension", version="1", py_modules=[], ext_modules=cythonize([
    Extension("loss_and_grad", ["loss_and_grad.pyx"]),
    Extension("perplexity", ["perplexity.c"], include_dirs=[fastsoftmax.get_include()]),
], language_level=3))
