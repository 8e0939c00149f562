"""What a training starts from in place of an untrained network: the weights and statistics of a run or an export.

They are an input of the compiled program, not a setting of it: whatever a network starts from, the program is the same.
The state of the optimizer starts anew, and so do schedule, seed and bounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse import export, trees
from jaxsparse.checks import name_of, require
from jaxsparse.train import Training
from jaxsparse.trees import Tree


@dataclass(frozen=True)
class Start:
    """A trained network to start from. It is read when it is needed, and once."""

    path: Path
    """what `export.load` takes: a run, a training that holds just one, or an exported `.safetensors` file"""

    @cached_property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Parameters and running statistics by name.

        Raises:
          InvalidInput: where there is no network, or one of a run that failed or whose weights are not finite.
        """
        return {name: np.asarray(leaf) for name, leaf in trees.flatten(nnx.state(export.load(self.path))).items()}

    @cached_property
    def described(self) -> Mapping[str, str]:
        """For a record: the name of the path, and a hash of names, shapes, types and values, whatever the format."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return {"start": self.path.absolute().name, "start_sha256": digest.hexdigest()}

    def check(self, training: Training) -> None:
        """Raises `InvalidInput` unless names and shapes are those of a training's network."""
        wanted = trees.flatten(jax.eval_shape(training.start, jax.random.key(0)))
        # a tuple of parameters and statistics: the names begin with its index
        shapes = {name.partition("/")[2]: leaf.shape for name, leaf in wanted.items()}
        found = {name: array.shape for name, array in self.arrays.items()}
        for name in sorted(shapes.keys() | found.keys()):
            ours, theirs = (str(one.get(name, "missing")).replace(" ", "") for one in (shapes, found))
            fits = f"a network that fits {name_of(training.run.model)}, where {name} is {ours}"
            require(ours == theirs, "start", f"{self.path} ({theirs})", fits)

    def variables(self, training: Training) -> tuple[Tree, Tree]:
        """Parameters and statistics of a training, in the place of `Training.start`.

        Raises:
          InvalidInput: as `check`.
        """
        self.check(training)
        wanted = jax.eval_shape(training.start, jax.random.key(0))
        leaves = [
            jnp.asarray(self.arrays[name.partition("/")[2]], leaf.dtype) for name, leaf in trees.flatten(wanted).items()
        ]
        params, stats = jax.tree.unflatten(jax.tree.structure(wanted), leaves)
        return params, stats


def started(training: Training, start: Start | None, seed: int) -> tuple[Tree, Tree]:
    """Parameters and statistics before the first step of a training of one network."""
    return jax.jit(training.start)(jax.random.key(seed)) if start is None else start.variables(training)
