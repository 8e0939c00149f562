"""What has to be settled before JAX is first used: how many devices there are, and where compiled programs stay."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from jaxsparse.config import InvalidInput
from jaxsparse.data import folders

COMPILE_SECONDS = 0.2
"""Programs that compile faster are not worth a file."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_every_core(devices: int | None = None) -> None:
    """Makes every core (or as many as given) a device of its own on machines without accelerator.

    Several one-core trainings are faster than one training on several cores: layers this small do not fill them. Once
    JAX has been used it is too late, and the devices stay what they are.
    """
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", devices or cores())


def _processor() -> str:
    """Model and abilities of the processor: a program compiled for one may not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    told = {name.strip(): value for name, _, value in (line.partition(":") for line in lines)}
    return "".join(told.get(name, "") for name in ("model name", "flags", "Features"))


def keep_compiled() -> None:
    """Keeps compiled programs in the user's cache folder, so that the next process need not compile them again.

    Each version of jaxlib and model of processor has a folder of its own, so that machines may share a home. The folder
    may be deleted at any time. `JAX_COMPILATION_CACHE_DIR` names another, `JAX_ENABLE_COMPILATION_CACHE=false` keeps
    nothing; where nothing can be written, nothing is kept.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    processor = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    folder = folders.cache() / "compiled" / f"jaxlib-{version('jaxlib')}-{processor}"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILE_SECONDS)


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Joins the processes of one training, on as many machines; their devices become those of all.

    Args:
      coordinator: HOST:PORT of the first process; on Slurm and TPUs everything is found without.
      processes: how many there are.
      process: number of this one, from 0.

    Raises:
      InvalidInput: where the others are not found.
    """
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        message = (
            f"distributed must be used on Slurm or TPUs or with --coordinator, --processes and --process: {reason}"
        )
        raise InvalidInput(message) from None


def writes() -> bool:
    """Whether this process writes what comes out: the first one does."""
    return jax.process_index() == 0
