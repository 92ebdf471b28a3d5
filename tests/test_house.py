"""The floors: imports inside the package only go down."""

import ast
from pathlib import Path

import fastsoftmax

ROOT = Path(fastsoftmax.__file__).parent
FLOORS = {name: floor for floor, names in enumerate((
    "contract dtypes typing", "reference", "threads", "check directions linear look optim plan run shards states",
    "api api_linear api_score api_states api_targets compact foreign metrics vocabulary",
    "__main__ bench cli cython_api demo jax numba _numba_extension sklearn torch train", "__init__",
)) for name in names.split()}


def _floor(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "backends":
        return 2 if parts[-1] == "__init__" else 1
    return FLOORS[parts[0]]


def test_imports_only_go_down():
    for path in ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = path.parent
                for _ in range(node.level - 1):
                    base = base.parent
                for alias in node.names:
                    name = (node.module or alias.name).split(".")[0]
                    target = base / name
                    target = target / "__init__.py" if target.is_dir() else target.with_suffix(".py")
                    if target.exists():
                        assert _floor(target) <= _floor(path), f"{path} imports {target}"


def test_no_file_asserts():
    for path in ROOT.rglob("*.py"):
        assert not any(isinstance(n, ast.Assert) for n in ast.walk(ast.parse(path.read_text()))), path
