"""A run on disk: one folder with its settings, its history and its weights.

    run.json              settings, seed, status, message, versions, device
    history.parquet       one row per measured epoch; list columns hold a value per unit
    weights.safetensors   parameters and running statistics by name

A folder appears whole or not at all: it is written under a temporary name, synced, then renamed. Nothing unpickles.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from safetensors.numpy import load_file, save, save_file

from jaxsparse.config import InvalidInput, Run, Thresholds, require

PARTIAL = ".partial"
"""Suffix of what is still being written; whatever carries it after a crash is worthless."""

COLUMNS = (
    *("dataset", "model", "optimizer", "regularizer", "strength", "convention", "seed", "epochs", "steps"),
    *("learning_rate", "train_loss", "test_loss", "test_error", "test_error_silenced"),
    *("sparsity_scale", "sparsity_activation", "sparsity_norm", "params", "params_alive", "seconds", "status"),
    *("test_error_top5", "test_error_top5_silenced", "thresholding", "sparsity", "sparsity_weights"),
)
"""Of `results`: losses in nats, errors and sparsities in percent (`sparsity`: the target, a share), seconds of wall
time."""


@dataclass(frozen=True)
class Record:
    """A run that ended, well or not."""

    name: str
    """folder's name"""
    run: Run
    settings: Mapping[str, Any]
    """what else there is to know: `regularizer`, `strength`, `seed`, `learning_rate`, `constants`, `data_verified`"""
    status: str
    """`done`, `diverged` (a loss that is not finite) or `failed` (see the message)"""
    message: str
    seconds: float
    history: Mapping[str, list[Any]]
    """columns of equal length, a value per measured epoch"""
    weights: Mapping[str, np.ndarray]


def versions() -> dict[str, str]:
    """Versions and device that a result depends on."""
    names = ("jaxsparse", "jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        **{name: version(name) for name in names},
        "python": platform.python_version(),
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _sync(path: Path) -> None:
    """Flushes a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all, replacing an older one."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_bytes(content)
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, as UTF-8."""
    write_bytes(path, text.encode())


def writable(folder: Path, field: str = "out") -> None:
    """Makes sure that a folder, which a field names, exists and can be written to.

    Raises:
      InvalidInput: where it can't.
    """
    probe = folder / f"probe{PARTIAL}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InvalidInput(
            f"{field} must be a folder that can be written to, got {str(folder)!r}: {error.strerror}"
        ) from None


def declare(path: Path, what: str, declaration: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
    """Makes a folder that of one declaration: writes it there as JSON, or finds the same there already.

    Args:
      path: of the declaration; its folder is made if it is missing.
      what: is declared, for the message: `grid`.
      declaration: of what JSON can hold; innermost names are unique.
      defaults: what a declaration says that an older version wrote, which did not know these names.

    Raises:
      InvalidInput: where the folder holds another declaration, with the differences; or anything else; or where it
        can't be written to.
    """
    folder, text = path.parent, json.dumps(declaration, indent=1)
    writable(folder)
    if not path.exists():
        free = all(path.suffix == PARTIAL for path in folder.iterdir())
        require(free, "out", str(folder), f"a new or empty folder, or one of the same {what}")
        write_text(path, text)
        return
    try:
        theirs, ours = (_flat(json.loads(found)) for found in (path.read_text(encoding="utf-8"), text))
        theirs = {**_flat(json.loads(json.dumps(defaults or {}))), **theirs}
    except (OSError, ValueError, AttributeError):
        raise InvalidInput(f"out must be a folder with a readable {path.name}, got {str(folder)!r}") from None
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    if names:
        shown = "; ".join(f"{name} was {theirs.get(name)}, is now {ours.get(name)}" for name in names)
        raise InvalidInput(f"out must be a new folder or one of the same {what}, {str(folder)!r} differs: {shown}")


def _flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Innermost names with their values."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        found |= _flat(value) if isinstance(value, Mapping) and value else {name: value}
    return found


def write(record: Record, folder: Path) -> Path:
    """Writes a record as `folder/name`, replacing one of the same name."""
    partial = _begun(folder / record.name)
    described = {
        "run": asdict(record.run),
        **record.settings,
        "status": record.status,
        "message": record.message,
        "seconds": record.seconds,
        "versions": versions(),
    }
    (partial / "run.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    length = len(record.history["epochs"])
    constant = {
        "cell": record.name,
        "dataset": record.run.data,
        "model": record.run.model,
        "optimizer": record.run.optimizer,
        "convention": record.run.convention,
        "status": record.status,
        "seconds": record.seconds,
        **{name: value for name, value in record.settings.items() if not isinstance(value, Mapping)},
    }
    columns = {**{name: [value] * length for name, value in constant.items()}, **record.history}
    pyarrow.parquet.write_table(pa.table(columns), partial / "history.parquet", compression="zstd")
    save_file(dict(record.weights), partial / "weights.safetensors", {"model": record.run.model})
    return _finished(partial)


def packed(run: Path) -> dict[str, bytes]:
    """The files of a run, to be sent to another machine."""
    return {file.name: file.read_bytes() for file in run.iterdir()}


def unpack(files: Mapping[str, bytes], run: Path) -> Path:
    """Writes a run that was `packed` elsewhere, replacing one of the same name."""
    partial = _begun(run)
    for name, content in files.items():
        (partial / Path(name).name).write_bytes(content)
    return _finished(partial)


def _begun(run: Path) -> Path:
    """An empty folder beside that of a run, for what will become it."""
    partial = run.with_name(run.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _finished(partial: Path) -> Path:
    """Puts what was begun in its place, replacing what was there."""
    for file in partial.iterdir():
        _sync(file)
    _sync(partial)
    run = partial.with_name(partial.name.removesuffix(PARTIAL))
    shutil.rmtree(run, ignore_errors=True)
    partial.rename(run)
    _sync(run.parent)
    return run


def write_network(
    folder: Path, described: Mapping[str, Any], weights: Mapping[str, Any], **more: Mapping[str, Any]
) -> None:
    """Writes a network that was made from that of a run, as a run of its own.

    Args:
      folder: made if it is missing.
      described: the `run.json`; written last, so that the folder is not a run before it is complete.
      weights: arrays by name.
      more: further arrays by name; `masks` goes into `masks.safetensors`.

    Raises:
      InvalidInput: where the folder can't be written to.
    """
    writable(folder)
    for name, found in {**more, "weights": weights}.items():
        arrays = {key: np.asarray(array) for key, array in found.items()}
        write_bytes(folder / f"{name}.safetensors", save(arrays, {"model": described["run"]["model"]}))
    write_text(folder / "run.json", json.dumps(described, indent=1))


def clear_partial(folder: Path) -> None:
    """Removes what a killed run left half-written."""
    for leftover in folder.glob(f"*{PARTIAL}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):
                leftover.unlink()


def describe(folder: Path) -> dict[str, Any]:
    """The `run.json` of a run.

    Raises:
      InvalidInput: where the folder holds no run.
    """
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InvalidInput(f"run must be the folder of a run (with a run.json), got {str(folder)!r}") from None


def run_of(described: Mapping[str, Any]) -> Run:
    """The `Run` in a `run.json`; settings that an older version did not write have their defaults.

    Raises:
      InvalidInput: for settings that this version does not know.
    """
    given: dict[str, Any] = described["run"]
    unknown = given.keys() - {field.name for field in fields(Run)}
    require(not unknown, "run", " ".join(sorted(unknown)), "without settings that this version does not know")
    found: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return Run(**{**found, "thresholds": Thresholds(**found["thresholds"])})


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Parameters and running statistics of a run, by name."""
    return load_file(folder / "weights.safetensors")


def finished(folder: Path) -> dict[str, str]:
    """Status of every run below a folder, by name."""
    runs = sorted(path.parent for path in folder.glob("*/run.json") if path.parent.suffix != PARTIAL)
    return {run.name: describe(run)["status"] for run in runs}


def _histories(folder: Path) -> list[str]:
    found = sorted(str(path) for path in folder.rglob("history.parquet") if PARTIAL not in str(path.parent))
    require(bool(found), "dir", str(folder), "a folder with finished runs")
    return found


def _query(query: str, folder: Path) -> pa.Table:
    with duckdb.connect() as connection:
        return connection.sql(query, params={"files": _histories(folder)}).to_arrow_table()


def history(folder: Path, columns: Iterable[str]) -> pa.Table:
    """Every measured epoch of every run below a folder: the given columns and `cell`, in order of cell and epoch.

    Raises:
      InvalidInput: where there is no run.
    """
    chosen = ", ".join(f'"{name}"' for name in dict.fromkeys(("cell", "epochs", *columns)))
    return _query(f"select {chosen} from read_parquet($files, union_by_name = true) order by cell, epochs", folder)


def results(folder: Path) -> pa.Table:
    """The last measured epoch of every run below a folder, with the columns `COLUMNS` and `cell`; null in those that an
    older version did not write.

    Raises:
      InvalidInput: where there is no run.
    """
    described = _query("describe select * from read_parquet($files, union_by_name = true)", folder)
    known = set(described["column_name"].to_pylist())
    columns = (name if name in known else f"null::double as {name}" for name in ("cell", *COLUMNS))
    query = f"""
        select {", ".join(columns)}
        from read_parquet($files, union_by_name = true, filename = true)
        qualify row_number() over (partition by filename order by epochs desc) = 1
        order by dataset, model, optimizer, regularizer, strength, seed"""
    return _query(query, folder)
