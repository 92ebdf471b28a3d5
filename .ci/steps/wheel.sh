# The built wheel, installed and tested away from the source; then the suite under each backend and instruction set.
source "$steps/build.sh"

step "wheel: install, and the whole suite outside the source"
fresh_venv
wheel=$(echo "$work"/dist/*.whl)
pip install -q "$wheel[test]"
(cd "$outside" && FASTSOFTMAX_REQUIRE=numba,ml_dtypes,scipy,mpmath,mypy,nbformat,nbclient,ipykernel,matplotlib pytest)

# Most tests run every backend by themselves; these are the others. The demo chooses backends for itself.
for backend in cython numba numpy; do
  step "FASTSOFTMAX_BACKEND=$backend: the tests that use the default backend"
  FASTSOFTMAX_BACKEND=$backend expect_config "backend: $backend,"
  (cd "$outside" && FASTSOFTMAX_BACKEND=$backend pytest -m "not every_backend" --ignore=tests/test_demo.py)
done

for cpu in x86-64-v3 baseline; do
  step "FASTSOFTMAX_CPU=$cpu: the tests of the Cython kernels"
  FASTSOFTMAX_CPU=$cpu expect_config "backend: cython," "built for $cpu"
  (cd "$outside" && FASTSOFTMAX_CPU=$cpu pytest -k cython)
done
