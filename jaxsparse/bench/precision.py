"""`jaxsparse bench precision`: does training in bfloat16 change which units die?

Which unit is which can be told only among trainings from the same weights. So each network here is trained three
times from the same weights with Adam and L2 on the digits, for the same steps:

    float32      the network as it is
    other order  in float32 too, but it sees the images in another order: what chance does
    bfloat16     products and activations in bfloat16, the images in the order of the first

If precision matters, the third differs from the first by more than the second does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np

from jaxsparse import data, models, sparsity
from jaxsparse.bench import arguments
from jaxsparse.checks import require
from jaxsparse.config import PRECISIONS, Hyper, Run
from jaxsparse.train import make_train

HYPER = Hyper(1e-3, 1e-3, {"b1": 0.9, "b2": 0.99, "eps": 1e-8})


def _trainer(run: Run) -> Callable[[int, int], tuple[np.ndarray, float]]:
    """Trains from one seed's weights in another seed's order, and tells which units are dead by scale then `[units]`,
    and the test error in percent."""
    only = models.features_of(run.model)
    training = make_train(run, sparsity.observation(run.thresholds, only))
    dataset = data.load(run.data, run.pixels)
    start, init = jax.jit(training.start), jax.jit(training.init)
    advance, measured = jax.jit(training.advance, donate_argnums=3), jax.jit(training.measured)

    def train(weights: int, order: int) -> tuple[np.ndarray, float]:
        state = init(HYPER, *start(jax.random.key(weights)))
        state, losses = advance(HYPER, jax.random.key(order), dataset, state)
        row = measured(dataset, state.evaluated, state.bounds, state.stats, losses)
        dead = sparsity.judge(row.measured.units, run.thresholds).dead["scale"]
        return np.concatenate([np.asarray(layer) for layer in dead.values()]), float(row.test_error)

    return train


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Units dead in both, over those dead in either (Jaccard index), in percent; 100 where none is."""
    either = (one | other).sum()
    return 100.0 * float((one & other).sum() / either) if either else 100.0


def precision(model: str = "mlp", epochs: int = 400, networks: int = 5) -> dict[str, object]:
    """Trains so many networks in the three ways.

    Args:
      model: name of the network; its widths are those of the embedded defaults.
      epochs: of each training.
      networks: weights to start from.

    Returns:
      By way, the mean share of dead units and the mean test error, in percent; and how alike the dead units are to
      those of the first way, for each network: `alike_other_order` is what chance leaves, `alike_bfloat16` what
      precision does. `bfloat16_within_chance`: whether the latter is at least the former, less two standard errors of
      the paired differences.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(networks, None)
    require(networks >= 2, "rounds", networks, "a whole number >= 2")
    widths = models.widths_of(model) if model == "mlp" else models.widths_of(model, 1 / 8)
    run = Run(model=model, widths=widths, epochs=epochs, measure_every=epochs, batch=64, regularizer="l2")
    trainers = {kind: _trainer(replace(run, precision=kind)) for kind in PRECISIONS}
    ways = {"float32": ("float32", 0), "other_order": ("float32", networks), "bfloat16": ("bfloat16", 0)}
    ends = {
        way: [trainers[kind](seed, seed + shift) for seed in range(networks)] for way, (kind, shift) in ways.items()
    }
    plain = [dead for dead, _ in ends["float32"]]
    alike = {
        way: [_alike(one, other) for one, (other, _) in zip(plain, ends[way], strict=True)]
        for way in ("other_order", "bfloat16")
    }
    differences = np.subtract(alike["bfloat16"], alike["other_order"])
    margin = 2.0 * differences.std(ddof=1) / len(differences) ** 0.5
    return {
        "networks": networks,
        **{f"dead_{way}": float(np.mean([100.0 * dead.mean() for dead, _ in found])) for way, found in ends.items()},
        **{f"error_{way}": float(np.mean([error for _, error in found])) for way, found in ends.items()},
        **{f"alike_{way}": found for way, found in alike.items()},
        "bfloat16_within_chance": bool(differences.mean() >= -margin),
    }
