# Style and types.
step "lint: ruff, mypy and pyright"
fresh_venv
pip install -q ruff mypy "pyright[nodejs]" numpy ml_dtypes
(cd "$work/source" && ruff check . && mypy && pyright)
