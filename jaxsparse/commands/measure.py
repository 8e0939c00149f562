"""`jaxsparse measure`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from jaxsparse import data, models, sparsity
from jaxsparse.criteria import Thresholds
from jaxsparse.export.own import Own
from jaxsparse.grid import keep_compiled

Flat = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True)
class Measure:
    """Show which units of a trained network are dead, per layer and by each criterion."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of a run"""
    own: Flat[Own] = field(default_factory=Own)
    threshold_scale: float = Thresholds.scale
    threshold_activation: float = Thresholds.activation
    threshold_norm: float = Thresholds.norm
    json: bool = False
    """print one JSON object instead of a table"""


def command(flags: Measure, _: str) -> int:
    """Shows them; always 0."""
    keep_compiled()
    thresholds = Thresholds(flags.threshold_scale, flags.threshold_activation, flags.threshold_norm)
    model, run = flags.own.open(flags.run)[1:]
    dataset = data.opened(run.data, run.pixels)
    found = sparsity.observe(model, dataset, models.features_of(run.model))
    judged = sparsity.judge(found, thresholds)
    print(json.dumps(judged.counts()) if flags.json else judged)
    return 0
