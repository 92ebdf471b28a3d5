# The site, of the source's pages and the installed wheel, with warnings as errors; the pages' examples; the files of a release.
source "$steps/build.sh"

step "release: twine check, check-wheel-contents, CITATION.cff"
fresh_venv
pip install -q twine check-wheel-contents cffconvert
twine check --strict "$work"/dist/*
check-wheel-contents --config "$work/source/pyproject.toml" "$work"/dist/*.whl
(cd "$work/source" && cffconvert --validate)

step "docs: every door's framework, the examples on the pages, the site with warnings as errors"
fresh_venv
wheel=$(echo "$work"/dist/*.whl)
pip install -q "$wheel[docs]" torch==2.13.0 jax pytest hypothesis ml_dtypes
(cd "$outside" && FASTSOFTMAX_REQUIRE=torch,jax,sklearn,numba pytest -rs tests/test_docs.py)
(cd "$outside" && sphinx-build -q -W --keep-going -b html "$work/source/docs" "$work/site")
[[ -s $work/site/reference/torch.html ]] || fail "the site lacks the reference of the doors"
