# The sdist, built by pip, beside PyTorch, SciPy and pandas: no comparison may be skipped.
source "$steps/build.sh"

step "sdist: install with PyTorch; the comparisons, and what an import loads"
fresh_venv
sdist=$(echo "$work"/dist/*.tar.gz)
pip install -q "$sdist[test]" torch==2.13.0 scipy pandas
FASTSOFTMAX_REQUIRE=torch,scipy,pandas few_tests -rs tests/test_against_*.py tests/test_{import,optim}.py
