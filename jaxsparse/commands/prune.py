"""`jaxsparse prune`: explicit pruning of a trained network, and what it costs in accuracy.

The folder it writes holds a network like any other run's (`js.load`, `jaxsparse measure`, `jaxsparse shrink`):

    run.json               that of the run, with how it was pruned under `pruned`
    weights.safetensors    the arrays, with zeros where they are pruned
    masks.safetensors      booleans by name of a parameter, true where it is kept
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from flax import nnx

from jaxsparse import data, export, models, records
from jaxsparse.checks import require, require_choice
from jaxsparse.config import Run
from jaxsparse.criteria import Thresholds
from jaxsparse.export.own import Own
from jaxsparse.grid import keep_compiled
from jaxsparse.pruning import methods
from jaxsparse.pruning.comparing import Below, Sparsity
from jaxsparse.pruning.fine_tuning import BATRA_2024, FineTuning, Method, continued
from jaxsparse.pruning.layers import emptied
from jaxsparse.pruning.masks import below, convolutions, share_pruned
from jaxsparse.pruning.outcome import prune
from jaxsparse.pruning.schedules import Schedule, cubic, iterative, one_shot, plan
from jaxsparse.trees import Mask, Tree, flatten


@dataclass(frozen=True)
class Prune:
    """Prune a trained network, train on what is left, and show the accuracy before, between and after."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of a run"""
    own: tyro.conf.OmitArgPrefixes[Own] = field(default_factory=Own)
    method: str = "magnitude"
    """magnitude or random: weights of the whole network; hybrid: weights, the same share of each filter; filters: units
    by L1 norm; random-filters: units; slimming: units by gamma (without normalisation, slices of filters by L2 norm);
    implicit: the units that are dead already. All but magnitude and random prune the layers that count as features"""
    sparsity: float | None = None
    """share of what the method prunes [0.5; implicit takes none]"""
    threshold: float | None = None
    """prune what is below this value instead of a share [implicit: 1e-3]"""
    schedule: str = "one-shot"
    """when: one-shot, iterative (the same share of what is left each time) or cubic (fast at first)"""
    rounds: int = 5
    """iterative, cubic: how many times, spread evenly over the epochs"""
    protocol: str = "own"
    """fine-tuning: own (the run's optimizer, regularizer and last learning rate; masks hold in every step) or batra2024
    (gradient descent, learning rate 1e-6, decay 1e-8; masks are applied after each epoch)"""
    epochs: int = 20
    """of fine-tuning; 0: none"""
    learning_rate: float | None = None
    """of fine-tuning [the protocol's]"""
    seed: int = 0
    """of the order of the images, and of random pruning"""
    out: Path | None = None
    """folder of the pruned network [the run's, with -pruned added]"""
    json: bool = False
    """print one JSON object instead of text"""


METHODS = ("magnitude", "filters", "slimming", "hybrid", "random", "random-filters", "implicit")
SCHEDULES = ("one-shot", "iterative", "cubic")
PROTOCOLS = ("own", "batra2024")


def _amount(flags: Prune) -> float | Below:
    if flags.threshold is not None or flags.method == "implicit":
        return Below(Thresholds.scale if flags.threshold is None else flags.threshold)
    return 0.5 if flags.sparsity is None else flags.sparsity


def methods_by_name(features: str, key: jax.Array) -> dict[str, Method]:
    """The methods of the flag `--method`, for a network whose layers that count are below the path `features`; `key`
    is that of the random ones."""
    units = below(features)

    def implicit(params: Tree, sparsity: Sparsity) -> Tree:
        assert isinstance(sparsity, Below)
        dead = Thresholds(scale=sparsity.threshold, norm=sparsity.threshold)
        return methods.implicit(params, dead, prunable=units)

    return {
        "magnitude": methods.magnitude,
        "filters": partial(methods.filters, prunable=units),
        "slimming": partial(methods.slimming, prunable=units),
        "hybrid": partial(methods.hybrid, prunable=units),
        "random": partial(methods.random, key=key),
        "random-filters": partial(methods.random_filters, key=key, prunable=units),
        "implicit": implicit,
    }


def _schedule(flags: Prune) -> Schedule:
    amount, every = _amount(flags), max(1, flags.epochs // max(1, flags.rounds))
    if isinstance(amount, float) and flags.schedule == "iterative":
        return iterative(amount, flags.rounds, every)
    if isinstance(amount, float) and flags.schedule == "cubic":
        return cubic(amount, every * (flags.rounds - 1), every=every)
    return one_shot(amount)


def _tuning(flags: Prune, run: Run, described: Mapping[str, Any]) -> FineTuning:
    tuning = BATRA_2024 if flags.protocol == "batra2024" else continued(run, described)
    rate = tuning.learning_rate if flags.learning_rate is None else flags.learning_rate
    return replace(tuning, epochs=flags.epochs, learning_rate=rate)


def _check(flags: Prune) -> None:
    """Raises InvalidInput for flags that can't be followed, whatever the run."""
    require_choice("method", flags.method, METHODS)
    require_choice("schedule", flags.schedule, SCHEDULES)
    require_choice("protocol", flags.protocol, PROTOCOLS)
    sparsity, by_value = flags.sparsity, flags.threshold is not None
    require(sparsity is None or 0 <= sparsity <= 1, "sparsity", sparsity, "a fraction in [0, 1]")
    require(sparsity is None or not by_value, "sparsity", sparsity, "left out where a threshold is given")
    implicit = flags.method == "implicit"
    require(sparsity is None or not implicit, "sparsity", sparsity, "left out for implicit, which takes what is dead")
    require(flags.epochs >= 0, "epochs", flags.epochs, "a whole number >= 0")
    rate = flags.learning_rate
    require(rate is None or (math.isfinite(rate) and rate > 0), "learning-rate", rate, "a finite number > 0")
    require(0 <= flags.seed < 2**32, "seed", flags.seed, "a whole number from 0 to 2^32 - 1")
    if flags.schedule != "one-shot":
        fits = not (implicit or by_value)
        require(fits, "schedule", flags.schedule, "one-shot for implicit, and where a threshold is given")
        most = max(1, flags.epochs)
        require(1 <= flags.rounds <= most, "rounds", flags.rounds, f"a whole number from 1 to {most}, the epochs")
    _amount(flags)


def command(flags: Prune, _: str) -> int:
    """The command's action; its exit status."""
    keep_compiled()
    _check(flags)
    described, model, run = flags.own.open(flags.run)
    out = flags.out or export.beside(flags.run, "-pruned")
    require(not out.exists() or (out.is_dir() and not any(out.iterdir())), "out", str(out), "a new or empty folder")
    tuning = _tuning(flags, run, described)
    method = methods_by_name(models.features_of(run.model), jax.random.key(flags.seed))[flags.method]
    dataset, key = data.load(run.data, run.pixels), jax.random.fold_in(jax.random.key(flags.seed), 3)
    follow = plan(_schedule(flags), tuning.epochs)
    _require_layers(flags, method(nnx.as_pure(nnx.state(model, nnx.Param)), follow[-1][1]))
    outcome = prune(model, run, dataset, key, method, follow, tuning)
    found = {
        "method": flags.method,
        "plan": [[epoch, asdict(amount) if isinstance(amount, Below) else amount] for epoch, amount in follow],
        "fine_tuning": asdict(tuning),
        "seed": flags.seed,
        "test_error": outcome.test_error,
        "accuracy": [100 - error for error in outcome.test_error],
        **summary(outcome.masks),
    }
    weights, masks = flatten(nnx.state(outcome.model)), flatten(outcome.masks)
    records.write_network(out, {**described, "pruned": found}, weights, masks=masks)
    print(json.dumps(found) if flags.json else terminal(found, out))
    return 0


def _require_layers(flags: Prune, masks: Tree) -> None:
    """Raises InvalidInput where what is asked for takes all of a layer; what is dead already isn't asked for."""
    gone = [] if flags.method == "implicit" else emptied(masks)
    name, value = ("sparsity", flags.sparsity) if flags.threshold is None else ("threshold", flags.threshold)
    require(not gone, name, value, f"low enough to leave something of {' '.join(gone)}")


def summary(masks: Tree) -> dict[str, Any]:
    """Percent that the masks prune, of all parameters and of the convolutions (none: null)."""

    def percent(chosen: Mask | None) -> float | None:
        share = share_pruned(masks, chosen)
        return None if math.isnan(share) else 100 * share

    return {
        "sparsity": percent(None),
        "sparsity_convolutions": percent(convolutions),
        "sparsity_by_parameter": {
            name: 100 * float(np.mean(~np.asarray(mask))) if mask.size else 0.0 for name, mask in flatten(masks).items()
        },
    }


def terminal(found: Mapping[str, Any], out: Path) -> str:
    """The same as text."""
    steps = zip(("before pruning", "after pruning", "after fine-tuning"), found["accuracy"], strict=True)
    lines = [f"accuracy {step:18} {value:6.2f} %" for step, value in steps]
    lines.append(f"pruned   of all parameters  {found['sparsity']:6.2f} %")
    if found["sparsity_convolutions"] is not None:
        lines.append(f"pruned   of convolutions    {found['sparsity_convolutions']:6.2f} %")
    return "\n".join([*lines, f"network  {out}"])
