# The built wheel, installed and tested away from the source; then the suite under each backend and instruction set.
source "$steps/build.sh"

step "wheel: install, and a selection of the suite outside the source"
fresh_venv
wheel=$(echo "$work"/dist/*.whl)
pip install -q "$wheel[test]"
FASTSOFTMAX_REQUIRE=$extras few_tests tests/test_{cli,dtypes,examples,import,typing}.py

# Most tests run every backend by themselves; these are the others. The demo and the bench choose backends for themselves.
# Cython is the default: the README's command has run the suite under it.
others=(-m "not every_backend" --ignore=tests/test_demo.py --ignore-glob='tests/test_bench*')
FASTSOFTMAX_BACKEND=cython expect_config "backend: cython,"
for backend in numba numpy; do
  step "FASTSOFTMAX_BACKEND=$backend: the tests that use the default backend"
  FASTSOFTMAX_BACKEND=$backend expect_config "backend: $backend,"
  (cd "$outside" && FASTSOFTMAX_BACKEND=$backend pytest "${others[@]}")
done

for cpu in x86-64-v3 baseline; do
  step "FASTSOFTMAX_CPU=$cpu: the tests of the Cython kernels"
  FASTSOFTMAX_CPU=$cpu expect_config "backend: cython," "built for $cpu"
  (cd "$outside" && FASTSOFTMAX_CPU=$cpu pytest -k cython)
done
