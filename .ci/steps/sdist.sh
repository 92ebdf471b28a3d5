# The sdist, built by pip, beside the frameworks that it opens doors to: no comparison and no door may be skipped.
source "$steps/build.sh"

step "sdist: install with PyTorch, JAX and other libraries; the doors, the comparisons, and what an import loads"
fresh_venv
sdist=$(echo "$work"/dist/*.tar.gz)
pip install -q "$sdist[test,torch,jax,sklearn]" torch==2.13.0 transformers accelerate pandas polars pyarrow
FASTSOFTMAX_REQUIRE=torch,jax,sklearn,scipy,transformers,pandas,polars,array_api_strict few_tests -rs \
  tests/test_against_*.py tests/test_{foreign,import,optim}.py tests/adapters/test_{jax,torch}*.py
