"""Cells over the machines of a Ray cluster (extra `ray`), a cell at a time on each accelerator, or core where none is.

Finished cells travel through Ray's object store to the driver, which writes them where they would be without Ray: no
disk need be shared, and each machine reads its own copy of the data. A cell whose worker is lost is started again
elsewhere; cells that are finished stay finished. The driver trains nothing itself.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import ray
from ray import exceptions

from jaxsparse import data, records, rules
from jaxsparse.grid.claims import Claims
from jaxsparse.grid.compiled import keep_compiled
from jaxsparse.grid.declaration import Cell
from jaxsparse.grid.devices import cores
from jaxsparse.grid.recording import failure
from jaxsparse.grid.running import Job, Progress, train_here

LOST = 3
"""Workers that a cell may lose before it counts as failed."""
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the next worker on an accelerator starts before the last one is gone
    "NPROC": "1",  # where cores are the devices, a worker has one
}


def drive_from_the_processor() -> None:
    """Leaves the accelerators of the driver's machine to the workers; before JAX is first used."""
    jax.config.update("jax_platforms", "cpu")


def _train_cell(cell: Cell, folder: Path, progress: Progress) -> Iterator[tuple[Progress, Mapping[str, bytes]]]:
    """In a worker: trains a cell and tells how it goes; in the end with the files of its record.

    Trainings on streamed data leave checkpoints in the folder: where that is shared, another worker goes on from them.
    """
    keep_compiled()
    rules.resolve(cell.run.optimizer)  # this process may not know it yet
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if data.describe(cell.run.data).fits else folder
        for step in train_here([Job(cell, place)], progress):
            files = records.packed(place / cell.name) if step.ended else {}
            yield replace(step, ended=tuple(replace(end, weights={}) for end in step.ended)), files


def _needed() -> dict[str, Any]:
    """What Ray is to reserve for a cell: an accelerator if the cluster has any, else a core."""
    there = ray.cluster_resources()
    if there.get("GPU"):
        return {"num_gpus": 1}
    return {"num_cpus": 0, "resources": {"TPU": 1}} if there.get("TPU") else {"num_cpus": 1}


def train_on_cluster(
    jobs: Sequence[Job], progress: Progress, claims: Claims | None = None, address: str | None = None
) -> Iterator[Progress]:
    """Trains cells on a Ray cluster, as `train_here` does on the devices of this process.

    Args:
      jobs: that are not done yet.
      progress: so far.
      claims: decide which of them are trained; all, where there are none.
      address: of the cluster; where none is given, one is started on this machine, with a worker a core or accelerator.
    """
    here = {"num_cpus": cores()} if address is None else {}
    environment = {"env_vars": ENVIRONMENT}
    with warnings.catch_warnings():  # of JAX, that a fork would harm it: what Ray forks starts another program at once
        warnings.filterwarnings("ignore", message=".*fork", category=RuntimeWarning)
        ray.init(address or "local", **here, runtime_env=environment, log_to_driver=False, include_dashboard=False)
    started = time.perf_counter()
    try:
        task = ray.remote(num_returns="streaming", max_retries=LOST, **_needed())(_train_cell)
        alone = Progress(1, 0, (), 0.0, 0.0, 0.0, ())
        mine = [job for job in jobs if claims is None or claims.take(job.folder, job.cell.name)]
        left = {task.remote(job.cell, job.folder.absolute(), alone): job for job in mine}
        shares: dict[Any, float] = {}
        while left:
            (told,), _ = ray.wait(list(left), num_returns=1, fetch_local=False)
            (cell, folder), ended = left[told], ()
            try:
                step, files = ray.get(next(told))
                shares[told], ended = step.share, step.ended
                if files:
                    records.unpack(files, folder / cell.name)
            except StopIteration:
                del left[told]
                shares.pop(told, None)
            except exceptions.RayError as error:
                del left[told]
                shares.pop(told, None)
                ended = (failure(cell, time.perf_counter() - started, f"{type(error).__name__}: {error}"),)
                records.write(ended[0], folder)
            if claims is not None:
                for end in ended:
                    claims.release(folder, end.name)
            current = tuple(job.cell for one, job in left.items() if one in shares)
            progress = replace(
                progress,
                finished=progress.finished + len(ended),
                current=current,
                share=sum(shares.values()) / max(len(shares), 1),
                training=time.perf_counter() - started,
                ended=ended,
            )
            yield progress
    finally:
        ray.shutdown()
