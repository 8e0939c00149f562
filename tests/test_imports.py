"""Data flows one way: a module imports only from rows above its own, and nobody imports what the base lacks."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    {"checks", "config", "criteria", "trees", "tracing", "owners", "files", "stopping", "starting", "importing"},
    {"data", "layers", "models", "rules", "theory", "noise", "regularizers", "schedules", "losses"}
    | {"sparsity", "selectivity", "records", "loggers"},
    {"train", "dynamics", "thresholding", "shrinking", "explanation"},
    {"grid", "pruning", "export", "monitor"},
    {"report", "bench", "decay", "settings", "commands", "comparison", "cli", "__main__"},
]
EXTRAS = {"torch", "keras", "tensorflow", "ray", "jax2onnx", "torch_pruning"}


def part(module: str) -> str | None:
    """`jaxsparse.data.digits` belongs to the part `data`."""
    pieces = module.split(".")
    return pieces[1] if pieces[0] == "jaxsparse" and len(pieces) > 1 else None


def row(name: str) -> int:
    return next(index for index, names in enumerate(ROWS) if name in names)


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


FILES = sorted((ROOT / "jaxsparse").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upwards(path: Path) -> None:
    own = path.relative_to(ROOT / "jaxsparse").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for module in imported(path):
        other = part(module)
        if other is None or other == own or other.startswith("_"):
            continue
        assert row(other) <= row(own), f"{own} (row {row(own)}) imports {other} (row {row(other)})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_extra_in_the_base(path: Path) -> None:
    if not path.name.startswith(("torch_", "ray_")):  # whoever needs the extras `bench` and `ray` imports these late
        assert not {module.split(".")[0] for module in imported(path)} & EXTRAS


def test_no_cycles_within_a_row() -> None:
    edges: dict[str, set[str]] = {}
    for path in FILES:
        own = path.relative_to(ROOT / "jaxsparse").parts[0].removesuffix(".py")
        others = {part(module) for module in imported(path)} - {None, own}
        edges.setdefault(own, set()).update(str(other) for other in others)

    def reaches(start: str, seen: frozenset[str]) -> None:
        for other in edges.get(start, ()):
            assert other not in seen, f"cycle through {' '.join(seen)} and {other}"
            reaches(other, seen | {other})

    for name in edges.keys() - {"__init__"}:
        reaches(name, frozenset({name}))


def test_import_starts_no_backend() -> None:
    """`jaxsparse.grid.use_every_core` must still have a say after the import."""
    code = (
        "import jaxsparse, jaxsparse.cli; from jax._src import xla_bridge as b; assert not b.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [([], 2), (["--help"], 0), (["grid", "--help"], 0), (["grid", "--optimizers", "adamm"], 2), (["gridd"], 2)],
    ids=lambda given: " ".join(given) if isinstance(given, list) else str(given),
)
def test_what_answers_at_once_imports_nothing_heavy(arguments: list[str], status: int) -> None:
    code = f"""
import sys
from jaxsparse.cli import main
status = main({arguments})
heavy = sorted({{"jax", "flax", "optax", "numpy", "pyarrow", "duckdb", "matplotlib", "sklearn"}} & sys.modules.keys())
assert not heavy, heavy
assert status == {status}, status
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_name_of_the_package_is_there() -> None:
    """Those of the stub are found one by one, and are what `import *` gives."""
    code = """
import jaxsparse as js
names = js.__all__
assert {"adam", "sgd", "Grid", "Monitor", "measure", "wiring", "data"} <= set(names)
assert all(getattr(js, name) is not None for name in names)
space = {}
exec("from jaxsparse import *", space)
assert set(names) <= space.keys()
assert set(names) <= set(dir(js))
for name in ("nothing", "_nothing"):
    try:
        getattr(js, name)
    except AttributeError as error:
        assert str(error) == f"module 'jaxsparse' has no attribute {name!r}"
    else:
        raise AssertionError(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
