# The built wheel, installed and tested away from the source; then the suite under each backend and instruction set.
source "$steps/build.sh"

step "wheel: install, and a selection of the suite outside the source"
fresh_venv
wheel=$(echo "$work"/dist/*.whl)
pip install -q "$wheel[test]"
FASTSOFTMAX_REQUIRE=$extras few_tests tests/test_{cli,dtypes,examples,import,typing}.py

# Most tests run every backend by themselves; these are the others. Demo, training, bench and doors take the best one.
others=(-m "not every_backend" --ignore=tests/adapters --ignore=tests/test_demo.py --ignore=tests/test_train.py
  --ignore-glob='tests/test_bench*')

# VARIABLE=VALUE, what the configuration says then, and what pytest is to run.
forced() {
  export "$1"
  printf '%s\n' "$1"
  expect_config "$2" && cd "$outside" && pytest "${@:3}"
}

step "forced backends: the tests that use the default one; forced instruction sets: the tests of the Cython kernels"
for backend in cython numba numpy; do
  beside forced "FASTSOFTMAX_BACKEND=$backend" "backend: $backend," "${others[@]}"
done
for cpu in x86-64-v3 baseline; do
  beside forced "FASTSOFTMAX_CPU=$cpu" "built for $cpu" -k cython
done
ended
