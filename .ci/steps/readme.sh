# The commands of the README, verbatim, each on a clean copy in a virtual environment of its own.
mapfile -t commands < <(grep '^python3 -m venv' README.md)
[[ ${#commands[@]} == 2 ]] || fail "README.md has ${#commands[@]} commands that begin with python3 -m venv, not 2"

# the demo at a small size, by its documented variables
small=(FASTSOFTMAX_DEMO_SECONDS=5 FASTSOFTMAX_DEMO_ROWS=16 FASTSOFTMAX_DEMO_CLASSES=5000
  FASTSOFTMAX_DEMO_VOCABULARY=5000 FASTSOFTMAX_DEMO_ROUNDS=3)

for command in "${commands[@]}"; do
  step "README: $command"
  rm -rf "$place"
  git clone -q . "$place"
  (cd "$place" && env "${small[@]}" FASTSOFTMAX_REQUIRE=$extras bash -c "$command")
  [[ $command != *demo* || -s $place/fastsoftmax-demo/report.md ]] || fail "the demo left no report"
done
