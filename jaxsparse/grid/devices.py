"""What has to be settled before JAX is first used: how many devices there are, and which processes train together."""

from __future__ import annotations

import contextlib
import glob
import os

import jax

from jaxsparse.checks import InvalidInput

ACCELERATORS = (
    ("/dev/nvidia[0-9]*", "an NVIDIA GPU", "cuda"),
    ("/dev/accel[0-9]*", "a TPU", "tpu"),
)
"""Files that drivers make, what they stand for, and the extra that it needs."""


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


def unused() -> str | None:
    """What to do about an accelerator that is in this machine while JAX computes on its processor; None where all is
    well, or was asked for (`JAX_PLATFORMS=cpu`)."""
    if jax.default_backend() != "cpu" or os.environ.get("JAX_PLATFORMS"):
        return None
    for pattern, name, extra in ACCELERATORS:
        if glob.glob(pattern):
            return f"there is {name} in this machine, but JAX sees none: pip install 'jaxsparse[{extra}]'"
    return None


def writes() -> bool:
    """Whether this process writes what comes out: the first one does."""
    return jax.process_index() == 0
