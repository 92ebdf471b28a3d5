# A machine without a compiler: installation succeeds, says what is missing, and the other backends serve.
source "$steps/build.sh"
remedy="the compiled kernels are not built: install a C compiler"

step "no compiler: installation says so, Numba serves"
fresh_venv
pip install -q pytest hypothesis mpmath ml_dtypes
env -u FASTSOFTMAX_REQUIRE_COMPILED CC=false pip install -v "$work/source[numba]" >"$work/install.log" 2>&1 ||
  { cat "$work/install.log"; exit 1; }
grep "$remedy" "$work/install.log" || fail "pip install -v should say: $remedy"
expect_config "backend: numba," "$remedy"
few_tests

step "no compiler, no Numba: NumPy serves"
pip uninstall -q -y numba llvmlite
expect_config "backend: numpy," "$remedy"
few_tests

step "no compiler: FASTSOFTMAX_REQUIRE_COMPILED=1 makes it an error"
CC=false pip install "$work/source" >"$work/install.log" 2>&1 && fail "installed without a compiler all the same"
grep -q "'false'" "$work/install.log" || fail "the failed command is not named"
