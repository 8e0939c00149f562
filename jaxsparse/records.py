"""A run on disk: one folder with its settings, its history and its weights.

    run.json              settings, seed, status, message, versions, device; checksums of the other files and its own
    history.parquet       one row per measured epoch; list columns hold a value per unit
    weights.safetensors   parameters and running statistics by name

A folder appears whole or not at all (see `files`), and what it holds is checked whenever it is read: what was damaged
since is named and never used. Nothing unpickles.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from safetensors import SafetensorError
from safetensors.numpy import load, save

import jaxsparse
from jaxsparse import data
from jaxsparse.checks import InvalidInput, name_of, plain, require
from jaxsparse.config import Run
from jaxsparse.criteria import Thresholds
from jaxsparse.files import PARTIAL, Damaged, Unwritable, partial_of, remove, sealed, sync, unsealed
from jaxsparse.files import clear_partial as clear_partial
from jaxsparse.files import declare as declare
from jaxsparse.files import writable as writable
from jaxsparse.files import write_bytes as write_bytes
from jaxsparse.files import write_text as write_text

FINISHED = ("done", "diverged")
"""Status of runs that are not trained again; failed ones are."""
DESCRIPTION, HISTORY, WEIGHTS = "run.json", "history.parquet", "weights.safetensors"
RECENT_SECONDS = 2.0
"""A file that was changed since may change again without another time in its entry."""
ASIDE = ".aside"
"""In the name of what was put aside, as `NAME.aside-1`."""

COLUMNS = (
    *("dataset", "model", "optimizer", "regularizer", "strength", "convention", "seed", "epochs", "steps"),
    *("learning_rate", "train_loss", "test_loss", "test_error", "test_error_silenced"),
    *("sparsity_scale", "sparsity_activation", "sparsity_norm", "params", "params_alive", "seconds", "status"),
    *("test_error_top5", "test_error_top5_silenced", "thresholding", "sparsity", "sparsity_weights"),
    *("data_fingerprint", "rules", "device"),
)
"""Of `results`: losses in nats, errors and sparsities in percent (`sparsity`: the target, a share), seconds of wall
time; `data_fingerprint`: see `data.fingerprint`, `rules`: see `rules.VERSION`; `device`: like `1 x cpu (cpu)`."""

_log = logging.getLogger("jaxsparse")


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
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "jaxsparse": jaxsparse.__version__,  # known where it is not installed, too
        **{name: version(name) for name in names},
        "python": platform.python_version(),
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def write(record: Record, folder: Path) -> Path:
    """Writes a record as `folder/name`; what is there already is replaced, unless it is a finished run.

    Raises:
      Unwritable: as on a full disk.
    """
    described = {
        "cell": record.name,
        "run": plain(record.run),
        **record.settings,
        "status": record.status,
        "message": record.message,
        "seconds": record.seconds,
        "versions": versions(),
    }
    length = len(record.history["epochs"])
    constant = {
        "cell": record.name,
        "dataset": data.called(record.run.data),
        "model": name_of(record.run.model),
        "optimizer": name_of(record.run.optimizer),
        "convention": record.run.convention,
        "status": record.status,
        "seconds": record.seconds,
        "device": versions()["device"],
        **{name: value for name, value in record.settings.items() if not isinstance(value, Mapping)},
    }
    columns = {**{name: [value] * length for name, value in constant.items()}, **record.history}
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table(columns), sink, compression="zstd", write_page_checksum=True)
    files = {
        HISTORY: sink.getvalue().to_pybytes(),
        WEIGHTS: save(dict(record.weights), {"model": name_of(record.run.model)}),
    }
    return _appear({**files, DESCRIPTION: _described(described, files)}, folder / record.name)


def _described(content: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """The `run.json` of a run with these files beside it."""
    checksums = {name: hashlib.sha256(file).hexdigest() for name, file in files.items()}
    return sealed({**content, "files": checksums}).encode()


def packed(run: Path) -> dict[str, bytes]:
    """The files of a run, to be sent to another machine."""
    return {file.name: file.read_bytes() for file in run.iterdir()}


def unpack(files: Mapping[str, bytes], run: Path) -> Path:
    """Writes a run that was `packed` elsewhere, as `write` does."""
    return _appear({Path(name).name: content for name, content in files.items()}, run)


def _appear(files: Mapping[str, bytes], run: Path) -> Path:
    """Puts a folder with these files in its place, whole."""
    partial = partial_of(run)
    try:
        partial.mkdir(parents=True)
        for name, content in files.items():
            (partial / name).write_bytes(content)
            sync(partial / name)
        sync(partial)
        while not _put(partial, run):
            former = partial_of(run)
            run.rename(former)
            remove(former)
        sync(run.parent)
    except OSError as error:
        raise Unwritable(run, error) from None
    finally:
        remove(partial)
    return run


def _put(partial: Path, run: Path) -> bool:
    """Whether the run is in its place: this one now, or one that another process finished."""
    if os.path.lexists(run):
        return is_finished(run)
    try:
        partial.rename(run)
    except OSError:
        if os.path.lexists(run):
            return False
        raise
    return True


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
    files = {
        f"{name}.safetensors": save(
            {key: np.asarray(array) for key, array in found.items()}, {"model": described["run"]["model"]}
        )
        for name, found in {**more, "weights": weights}.items()
    }
    for name, content in files.items():
        write_bytes(folder / name, content)
    write_bytes(folder / DESCRIPTION, _described({**described, "cell": folder.name}, files))


def describe(folder: Path) -> dict[str, Any]:
    """The `run.json` of a run, without its checksum.

    Raises:
      InvalidInput: where the folder holds no run.
      Damaged: where the file is not what was written.
    """
    path = folder / DESCRIPTION
    try:
        content = path.read_bytes()
    except OSError:
        raise InvalidInput(f"run must be the folder of a run (with a run.json), got {str(folder)!r}") from None
    try:
        described = unsealed(content)
        if not (isinstance(described["run"], Mapping) and isinstance(described["status"], str)):
            raise ValueError("it lacks the settings of a run")
    except (ValueError, KeyError, RecursionError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise _damage(path, reason) from None
    return described


def _damage(path: Path, reason: str) -> Damaged:
    return Damaged(
        f"run must be whole, {str(path)!r} is damaged ({reason}): restore it from a copy, or give the training's "
        "command again, which puts the folder aside and trains that network anew"
    )


def _read(folder: Path, name: str, described: Mapping[str, Any]) -> bytes:
    """A file of a run, as it was written.

    Raises:
      Damaged: where it is not.
    """
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damage(path, error.strerror or str(error)) from None
    checksums = described.get("files")
    if checksums is not None and checksums.get(name) != hashlib.sha256(content).hexdigest():
        raise _damage(path, "its checksum is another")
    return content


def check(folder: Path) -> dict[str, Any]:
    """The `run.json` of a run of which everything is there and as it was written.

    Raises:
      Damaged: naming the file that is not.
      InvalidInput: where the folder holds no run.
    """
    described = describe(folder)
    if described.get("cell", folder.name) != folder.name:
        raise _damage(folder, f"it holds {described['cell']}")
    for name in described.get("files", (HISTORY, WEIGHTS)):
        _check_file(folder, name, described)
    return described


def _check_file(folder: Path, name: str, described: Mapping[str, Any]) -> None:
    """Raises `Damaged` unless a file is what was written, as far as the run tells; no file is read twice unchanged."""
    path = folder / name
    try:
        seen = path.stat()
    except OSError as error:
        raise _damage(path, error.strerror or str(error)) from None
    expected = (described.get("files") or {}).get(name)
    look = _looked_into if time.time() - seen.st_mtime > RECENT_SECONDS else _looked_into.__wrapped__
    found, reason = look(str(path), (seen.st_ino, seen.st_mtime_ns, seen.st_size))
    if expected is not None and found != expected:
        raise _damage(path, "its checksum is another")
    if expected is None and reason:
        raise _damage(path, reason)


@lru_cache(maxsize=1 << 16)
def _looked_into(path: str, state: tuple[int, ...]) -> tuple[str, str]:
    """Checksum of a file, and why it can't be read, if so."""
    del state
    try:
        content = Path(path).read_bytes()
        _parsers[path.rpartition(".")[2]](content)
        return hashlib.sha256(content).hexdigest(), ""
    except (OSError, SafetensorError, pa.ArrowException, ValueError) as error:
        return "", (str(error).splitlines() or [type(error).__name__])[0]


_parsers: Mapping[str, Any] = {
    "parquet": lambda content: pyarrow.parquet.ParquetFile(pa.BufferReader(content)),
    "safetensors": load,
}


def run_of(described: Mapping[str, Any]) -> Run:
    """The `Run` in a `run.json`; settings that an older version did not write have their defaults.

    Raises:
      InvalidInput: for settings that this version does not know.
    """
    given: dict[str, Any] = described["run"]
    unknown = given.keys() - {field.name for field in fields(Run)}
    require(not unknown, "run", " ".join(sorted(unknown)), "without settings that this version does not know")
    found: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        thresholds = {**found.get("thresholds", {}), "own": ()}  # a person's own criteria are code, which is not read
        return Run(**{**found, "thresholds": Thresholds(**thresholds)})
    except TypeError as error:  # a number where a name should be, and the like
        raise InvalidInput(f"run must have settings of the right types, {error}") from None


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Parameters and running statistics of a run, by name.

    Raises:
      Damaged: where they are not what was written.
    """
    content = _read(folder, WEIGHTS, describe(folder))
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damage(folder / WEIGHTS, str(error).splitlines()[0]) from None


def is_finished(folder: Path) -> bool:
    """Whether a folder is a whole run that is not to be trained again."""
    try:
        return check(folder)["status"] in FINISHED
    except InvalidInput:
        return False


def runs(folder: Path) -> tuple[dict[Path, dict[str, Any]], dict[Path, str]]:
    """What there is below a folder: the `run.json` of every whole run, and why the others are not whole."""
    whole: dict[Path, dict[str, Any]] = {}
    damaged: dict[Path, str] = {}
    found = {path.parent for name in (DESCRIPTION, HISTORY) for path in folder.rglob(name)}
    for run in sorted(run for run in found if not is_put_away(run, folder)):
        try:
            whole[run] = check(run)
        except InvalidInput as error:
            damaged[run] = str(error)
    return whole, damaged


def is_put_away(path: Path, folder: Path) -> bool:
    """Whether something below a folder is half-written or was put aside."""
    return any(PARTIAL in part or ASIDE in part for part in path.relative_to(folder).parts)


def put_aside(path: Path, reason: str, then: str = "trained again") -> Path:
    """Renames what is not whole, so that it is kept but not in the way, and says so; its new path."""
    taken = {other.name for other in path.parent.iterdir()}
    number = next(n for n in range(1, len(taken) + 2) if f"{path.name}{ASIDE}-{n}" not in taken)
    aside = path.with_name(f"{path.name}{ASIDE}-{number}")
    try:
        path.rename(aside)
    except FileNotFoundError:  # another process has done it
        return aside
    except OSError as error:
        raise Unwritable(path, error) from None
    _log.warning("jaxsparse: kept as %s, and %s: %s", aside, then, reason)
    return aside


def is_damaged(folder: Path) -> bool:
    """Whether a run below a folder is not whole."""
    return bool(runs(folder)[1])


def finished(folder: Path) -> dict[str, str]:
    """Status of every whole run in a folder, by name."""
    found = {run: described for run, described in runs(folder)[0].items() if run.parent == folder}
    return {run.name: described["status"] for run, described in found.items()}


@lru_cache(maxsize=1 << 12)
def _tell_once(message: str) -> None:
    _log.warning("jaxsparse: left out: %s", message)


def _histories(folder: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """The histories of the whole runs below a folder; of those that are not, it is told that they are left out."""
    whole, damaged = runs(folder)
    for run, described in whole.items():
        try:
            yield _opened(run, described)
        except Damaged as error:  # just now
            damaged[run] = str(error)
    for message in damaged.values():
        _tell_once(message)


def _opened(run: Path, described: Mapping[str, Any]) -> pyarrow.parquet.ParquetFile:
    content = pa.BufferReader(_read(run, HISTORY, described))
    try:
        return pyarrow.parquet.ParquetFile(content, page_checksum_verification=True)
    except pa.ArrowException as error:
        raise _damage(run / HISTORY, str(error).splitlines()[0]) from None


def epochs_of(run: Path, columns: Iterable[str] | None = None) -> pa.Table:
    """Every measured epoch of one run: all columns, or some that it has.

    Raises:
      InvalidInput: where the folder holds no run.
      Damaged: where the file is not what was written.
    """
    return _opened(run, describe(run)).read(None if columns is None else list(columns))


def _gathered(folder: Path, columns: Iterable[str], last: bool = False) -> pa.Table:
    """Columns of all histories, null where a run has no such; of every epoch, or the last one of each run.

    Raises:
      InvalidInput: where there is no run.
    """
    wanted, tables = list(dict.fromkeys(columns)), []
    for history in _histories(folder):
        there = set(history.schema_arrow.names)
        table = history.read([name for name in wanted if name in there])
        if last:
            table = table.sort_by("epochs").slice(table.num_rows - 1)
        tables.append(table)
    require(bool(tables), "dir", str(folder), "a folder with finished runs")
    table = pa.concat_tables(tables, promote_options="permissive")
    for name in wanted:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), pa.float64()))
    return table.select(wanted)


def _query(query: str, gathered: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("gathered", gathered)
        return connection.sql(query).to_arrow_table()


def history(folder: Path, columns: Iterable[str]) -> pa.Table:
    """Every measured epoch of every whole run below a folder: the given columns and `cell`, in order of cell and epoch.

    Raises:
      InvalidInput: where there is no run.
    """
    gathered = _gathered(folder, ("cell", "epochs", *columns))
    return _query("select * from gathered order by cell, epochs", gathered)


def _own_criteria(folder: Path) -> list[str]:
    """Columns of the criteria of a person's own, of all runs below a folder."""
    thresholds = [described["run"].get("thresholds", {}) for described in runs(folder)[0].values()]
    return list(dict.fromkeys(f"sparsity_{one['name']}" for own in thresholds for one in own.get("own", ())))


def results(folder: Path) -> pa.Table:
    """The last measured epoch of every whole run below a folder, with the columns `COLUMNS` and `cell`, and those of a
    person's own criteria; null in those that an older version did not write.

    Raises:
      InvalidInput: where there is no run.
    """
    gathered = _gathered(folder, ("cell", *COLUMNS, *_own_criteria(folder)), last=True)
    return _query("select * from gathered order by dataset, model, optimizer, regularizer, strength, seed", gathered)
