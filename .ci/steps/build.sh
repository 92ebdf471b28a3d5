# The sdist and the wheel, built in the background from the start (.ci/run), and looked through: once, for the steps that need them.
[[ -d $work/outside ]] && return

step "build: sdist, and the wheel from it"
wait "$build" || { cat "$work/build.log"; exit 1; }
"$work/builder/bin/python" "$steps/check_dist.py" "$work/source" "$work/dist"

# Tests, examples and pytest's settings out of the sdist, without the package.
outside=$work/outside
mkdir "$outside"
tar -xf "$work"/dist/*.tar.gz -C "$outside" --strip-components=1
rm -r "$outside/fastsoftmax" "$outside/setup.py"

# Every bad argument and the main results, beside the given tests; the whole suite is the README's second command.
few_tests() { (cd "$outside" && pytest "$@" tests/test_check_*.py tests/test_{cross_entropy,softmax,vocabulary}.py); }
