# The sdist, built by pip, beside the frameworks that it opens doors to: no comparison, no door and no example may be skipped.
source "$steps/build.sh"

step "sdist: install with PyTorch, JAX and other libraries; the doors, the comparisons, and what an import loads"
fresh_venv
sdist=$(echo "$work"/dist/*.tar.gz)
pip install -q "$sdist[test,torch,jax,sklearn]" torch==2.13.0 transformers accelerate pandas polars pyarrow flatbuffers
FASTSOFTMAX_REQUIRE=torch,PyTorch,jax,sklearn,scipy,transformers,accelerate,pandas,polars,pyarrow,flatbuffers,array_api_strict \
  few_tests -rs tests/test_against_*.py tests/test_{examples,foreign,import,optim}.py tests/adapters/test_{jax,torch}*.py
# with a framework, of files that are run without one elsewhere
(cd "$outside" && FASTSOFTMAX_REQUIRE=torch,PyTorch,jax pytest -rs \
  tests/test_bench_parts.py::test_{every_contender_is_right_on_every_case,torch_compile_is_right_on_every_operation} \
  tests/test_linear_filter.py::test_arrays_of_other_libraries tests/test_states.py::test_tensors)
