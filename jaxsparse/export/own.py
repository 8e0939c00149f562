"""Runs of a person's own network or data, which a record names but never imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from flax import nnx

from jaxsparse import data, importing, records
from jaxsparse.checks import require
from jaxsparse.config import Run
from jaxsparse.export.loading import folder_of, load


class Opened(NamedTuple):
    """A trained network with what made it."""

    described: Mapping[str, Any]
    """its `run.json`"""
    model: Any
    """an `nnx.Module` in evaluation mode"""
    run: Run


@dataclass(frozen=True)
class Own:
    """Flags of commands that open a run."""

    model: str | None = None
    """package.module:function that made the network, where it is your own"""
    loss: str | None = None
    """package.module:function that it was trained with, where that is your own"""
    data: str | None = None
    """where the data of the run are now: FILE.npz, a folder of images, tfds:NAME [where they were]"""

    def open(self, path: Path) -> Opened:
        """The trained network of a run.

        Raises:
          InvalidInput: where there is none, or it needs a flag that is not given; for other images than those that it
            was trained on.
        """
        folder = folder_of(path)
        described = records.describe(folder)
        run = records.run_of(described)
        if self.data is not None:
            run = replace(run, data=data.located(self.data))
            expected = described.get("data_fingerprint")
            same = expected in (None, data.fingerprint(run.data))
            require(same, "data", self.data, f"the images that the run was trained on, {described['run']['data']}")
        if run.loss is not None:
            require(self.loss is not None, "loss", None, f"given, as a record never imports code: {run.loss}")
            run = replace(run, loss=importing.function(str(self.loss), "loss"))
        if self.model is not None:
            run = replace(run, model=importing.function(self.model, "model"))
        return Opened(described, self.network(folder), run)

    def network(self, folder: Path) -> Any:
        """The trained network of a run, in evaluation mode.

        Raises:
          InvalidInput: where there is none, or `model` is needed, or makes another.
        """
        if self.model is None:
            return load(folder)
        made = importing.function(self.model, "model")(rngs=nnx.Rngs(0))
        require(isinstance(made, nnx.Module), "model", self.model, "what makes an nnx.Module, called with rngs=..")
        made.eval()
        return load(folder, like=made)
