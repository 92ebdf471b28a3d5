# Style and types.
step "lint: ruff and mypy"
fresh_venv
pip install -q ruff mypy numpy
(cd "$work/source" && ruff check . && mypy)
