"""The gradients that the papers feed to a single weight, and others: `init(n)` and `gradients(n)` for `simulate`.

    protocol = LowGradient()
    xs = simulate(tx, protocol.init(n), protocol.gradients(n), steps=20_000, key=jax.random.key(0))

| name                  | class          | gradient                                                        | starts at |
|-----------------------|----------------|-----------------------------------------------------------------|-----------|
| low-gradient          | LowGradient    | normal: deviation 1e-3 for 100 steps, 1e-5 from then on         | 1         |
| low-gradient-variance | LowGradient    | the same with these numbers as variances                        | 1         |
| zero-gradient         | ZeroGradient   | none                                                            | 0.2       |
| sparse-gradient       | SparseGradient | in one step of a hundred normal of deviation 1e-3, else none    | 1         |
| a .npy or .csv file   | Trace          | its numbers, one per step                                       | 1         |
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.checks import InvalidInput, require
from jaxsparse.dynamics.simulation import GradientFunction


@dataclass(frozen=True)
class LowGradient:
    """A transition into the regime of low gradients: Mehta et al. 2019, Figure 4 and Figure 3 of its supplement.

    The captions say "mean=0, std=10^-5 normal distribution", so the numbers are standard deviations; readers of
    "N(0, 10^-5)" as a variance get that by `of_variances`.
    """

    initial: float = 1.0
    first_deviation: float = 1e-3
    """of the gradients in the first steps"""
    first_steps: int = 100
    deviation: float = 1e-5
    """of the gradients after them"""

    @classmethod
    def of_variances(cls, first: float = 1e-3, then: float = 1e-5) -> LowGradient:
        """The same with variances instead of deviations."""
        return cls(first_deviation=first**0.5, deviation=then**0.5)

    @property
    def is_random(self) -> bool:
        return True

    def init(self, n: int) -> jax.Array:
        """`[n]`: the weights at the start."""
        return jnp.full(n, self.initial)

    def gradients(self, n: int) -> GradientFunction:
        """Of n weights, independent of each other."""

        def draw(key: jax.Array, step: jax.Array) -> jax.Array:
            deviation = jnp.where(step < self.first_steps, self.first_deviation, self.deviation)
            return deviation * jax.random.normal(key, (n,))

        return draw


@dataclass(frozen=True)
class ZeroGradient:
    """No gradient but the regularizer's: the weight of a unit that no sample activates (Yaguchi et al. 2018, III)."""

    initial: float = 0.2

    @property
    def is_random(self) -> bool:
        return False

    def init(self, n: int) -> jax.Array:
        """`[n]`: the weights at the start."""
        return jnp.full(n, self.initial)

    def gradients(self, n: int) -> GradientFunction:
        """Of n weights."""
        return lambda key, step: jnp.zeros(n)


@dataclass(frozen=True)
class SparseGradient:
    """A gradient in few steps only, as of a unit that few samples activate (Yaguchi et al. 2018, III-A, in words)."""

    initial: float = 1.0
    probability: float = 0.01
    """of a gradient in a step"""
    deviation: float = 1e-3
    """of the normal distribution that it is drawn from"""

    def __post_init__(self) -> None:
        require(0 <= self.probability <= 1, "probability", self.probability, "in [0, 1]")

    @property
    def is_random(self) -> bool:
        return True

    def init(self, n: int) -> jax.Array:
        """`[n]`: the weights at the start."""
        return jnp.full(n, self.initial)

    def gradients(self, n: int) -> GradientFunction:
        """Of n weights, independent of each other."""

        def draw(key: jax.Array, step: jax.Array) -> jax.Array:
            del step
            present, size = jax.random.split(key)
            drawn = self.deviation * jax.random.normal(size, (n,))
            return jnp.where(jax.random.bernoulli(present, self.probability, (n,)), drawn, 0)

        return draw


@dataclass(frozen=True, eq=False)
class Trace:
    """Gradients that were recorded: `[steps, columns]`; weight i gets column i, modulo the columns."""

    values: np.ndarray
    initial: float = 1.0

    @classmethod
    def read(cls, path: Path) -> Trace:
        """From a `.npy` file `[steps]` or `[steps, columns]`, or a `.csv` of numbers (a heading is skipped).

        Raises:
          InvalidInput: where the file holds anything else; nothing is unpickled.
        """
        try:
            values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_csv(path)
        except (OSError, ValueError, EOFError, IndexError, csv.Error):
            values = np.zeros(0)
        numbers = isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and values.ndim in (1, 2)
        if not (numbers and values.size and np.all(np.isfinite(values))):
            raise InvalidInput(
                f"protocol must be a readable .npy or .csv file of finite numbers [steps] or [steps, columns], "
                f"got {str(path)!r}"
            )
        return cls(values.reshape(len(values), -1).astype(float))

    @property
    def is_random(self) -> bool:
        return False

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.values)

    def init(self, n: int) -> jax.Array:
        """`[n]`: the weights at the start."""
        return jnp.full(n, self.initial)

    def gradients(self, n: int) -> GradientFunction:
        """Of n weights."""
        table = self.values[:, np.arange(n) % self.values.shape[1]]
        return lambda key, step: jnp.asarray(table)[step]


def _read_csv(path: Path) -> np.ndarray:
    """Numbers separated by commas; a first line of anything else is a heading."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    try:
        [float(number) for number in rows[0]]
    except ValueError:
        rows = rows[1:]
    return np.array([[float(number) for number in row] for row in rows])


Protocol: TypeAlias = LowGradient | ZeroGradient | SparseGradient | Trace

_BY_NAME: dict[str, Protocol] = {
    "low-gradient": LowGradient(),
    "low-gradient-variance": LowGradient.of_variances(),
    "zero-gradient": ZeroGradient(),
    "sparse-gradient": SparseGradient(),
}

NAMES: tuple[str, ...] = tuple(_BY_NAME)


def protocol(name: str) -> Protocol:
    """The protocol of a name, or the trace in a `.npy` or `.csv` file, as a command line gives it.

    Raises:
      InvalidInput: for anything else.
    """
    if Path(name).suffix in (".npy", ".csv"):
        return Trace.read(Path(name))
    require(name in NAMES, "protocol", name, f"one of {' '.join(NAMES)}, or a .npy or .csv file")
    return _BY_NAME[name]
