"""What a grid is made of: cells, and the declaration that they are the product of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from jaxsparse import data, records, regularizers, rules, thresholding
from jaxsparse.checks import InvalidInput, name_of, plain, require, require_choice
from jaxsparse.config import Hyper, Run, Target
from jaxsparse.files import differences
from jaxsparse.grid.start import Start
from jaxsparse.train import make_train
from jaxsparse.trees import choice

MOST_CELLS = 10**5
"""Of a grid."""


GROWING = ("optimizers", "regularizers", "strengths", "seeds")
"""What a grid may have more of than last time: then only what is missing is trained."""


def origin_of(run: Run) -> dict[str, Any]:
    """What decides a run's figures beside its settings."""
    return {"data_fingerprint": data.fingerprint(run.data), "rules": rules.VERSION}


@dataclass(frozen=True)
class Cell:
    """One training: its static run, its traced values and its seed.

    `run.regularizer` is the form that is compiled; `regularizer` the one asked for. They differ where none was asked
    for: that is coupled L2 of strength 0, so that both share a compilation.
    """

    run: Run
    hyper: Hyper
    seed: int
    regularizer: regularizers.Form
    start: Start | None = None
    """what it starts from, where that is not an untrained network"""

    def settings(self) -> dict[str, Any]:
        """What decides its figures beside `run`."""
        return {
            "regularizer": name_of(self.regularizer),
            "strength": float(self.hyper.strength),
            "seed": self.seed,
            "learning_rate": float(self.hyper.learning_rate),
            "constants": {name: float(value) for name, value in self.hyper.constants.items()},
            **self._thresholding(),
            **self._started(),
            **origin_of(self.run),
        }

    def _thresholding(self) -> dict[str, Any]:
        """Every target, and as columns that of the first density."""
        if self.run.thresholding == "none":
            return {}
        targets = {
            name: {"sparsity": float(target.sparsity), "strength": float(target.strength)}
            for name, target in zip(self._densities, self.hyper.targets, strict=True)
        }
        first = next(iter(targets.values()))
        return {
            "thresholding": self.run.thresholding,
            "sparsity": first["sparsity"],
            "sparsity_strength": first["strength"],
            "targets": targets,
        }

    @property
    def _densities(self) -> tuple[str, ...]:
        """Those that have a target."""
        return self.run.density[: len(self.hyper.targets)]

    def _started(self) -> dict[str, Any]:
        """What it started from; of what can't be read, which the message of a failed cell says, the name alone."""
        if self.start is None:
            return {}
        try:
            return dict(self.start.described)
        except InvalidInput:
            return {"start": self.start.path.name}

    def differs_from(self, other: Mapping[str, Any]) -> list[str]:
        """What another cell's `run.json` has that this cell has not, or otherwise: `run.batch was 1, is now 2`. What an
        earlier version did not write has the value that it had then."""
        ours = {"run": plain(self.run), **self.settings()}
        theirs = {name: other[name] for name in ours if name in other}
        before: dict[str, Any] = {"run": plain(Run()), **origin_of(self.run), "rules": 1}
        if "sparsity" in theirs:  # one for all densities
            target = {"sparsity": theirs["sparsity"], "strength": theirs.get("sparsity_strength", 0.0)}
            before["targets"] = dict.fromkeys(self._densities, target)
        return differences(theirs, ours, before)

    @property
    def name(self) -> str:
        """Name of the cell's folder: unique within a grid, made of registered names and numbers only."""
        strength = "" if self.regularizer == "none" else f"-{self.hyper.strength:g}"
        target = _told("sparsity", [target.sparsity for target in self.hyper.targets])
        pull = _told("lambda", [target.strength for target in self.hyper.targets])
        started = "-started" * (self.start is not None)
        optimizer = self.run.optimizer.replace(":", ".")  # which not every file system has in a name
        return f"{optimizer}-{name_of(self.regularizer)}{strength}{target}{pull}{started}-seed{self.seed}"


def _told(name: str, values: Sequence[Any]) -> str:
    """`-lambda10`, or of several `-lambda10-5`; nothing where all are zero."""
    return "-".join([f"-{name}{values[0]:g}", *(f"{value:g}" for value in values[1:])]) if any(values) else ""


def _in_todays_names(declared: Mapping[str, Any]) -> dict[str, Any]:
    """A declaration of an earlier version, which had one target, as two numbers that were zero without thresholding."""
    renewed = dict(declared)
    if "sparsity" in renewed:
        target = {"sparsity": renewed.pop("sparsity"), "strength": renewed.pop("sparsity_strength", 0.0)}
        count = len(renewed.get("run", {}).get("density", Run.density))
        renewed["targets"] = [target] * count if target["sparsity"] else []
    return renewed


@dataclass(frozen=True)
class Declaration:
    """What a grid is made of; written beside its results, and a grid resumes under the same one, or grows: `GROWING`.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """

    run: Run
    """the static settings, less optimizer and regularizer"""
    optimizers: tuple[str, ...]
    """whatever `rules.resolve` takes; kept by their names"""
    regularizers: tuple[regularizers.Form, ...]
    strengths: tuple[float, ...]
    seeds: tuple[int, ...]
    learning_rate: float | None = None
    """of every optimizer; the papers' for each where not given"""
    constants: Mapping[str, float] = field(default_factory=dict)
    """hyperparameters that replace the papers', for every optimizer that has them"""
    targets: tuple[Target, ...] = ()
    """of thresholding: one for each of `run.density`, or one for all"""
    start: Start | None = None
    """what every cell starts from, where that is not an untrained network"""

    def __post_init__(self) -> None:
        require(len(self.optimizers) > 0, "optimizers", self.optimizers, "at least one name")
        require(len(self.regularizers) > 0, "regularizers", self.regularizers, "at least one name")
        object.__setattr__(self, "optimizers", tuple(rules.resolve(one, "optimizers").name for one in self.optimizers))
        for given in self.regularizers:
            own = regularizers.form(given) == given
            require(own, "regularizers", given, "called by its name, as one of ours")
        regularizers.require_strengths(self.strengths, self.regularizers)
        count = len(self.optimizers) * len(self.regularizers) * len(self.strengths) * len(self.seeds)
        require(count <= MOST_CELLS, "seeds", len(self.seeds), f"so few that a grid has at most {MOST_CELLS} cells")
        for field_name in ("optimizers", "regularizers", "strengths", "seeds"):
            values = [
                value if isinstance(value, int | float) else name_of(value) for value in getattr(self, field_name)
            ]
            require(len(set(values)) == len(values), field_name, values, "without repetition")
        require(len(self.seeds) > 0, "seeds", self.seeds, "at least one")
        require(all(0 <= seed < 2**32 for seed in self.seeds), "seed", self.seeds, "whole numbers from 0 to 2^32 - 1")
        takes = rules.having("nesterov")
        fits = not self.run.nesterov or not set(takes).isdisjoint(self.optimizers)
        require(fits, "nesterov", self.run.nesterov, f"left out without the optimizer {' '.join(takes)}")
        names = {name for optimizer in self.optimizers for name in self.defaults(optimizer)}
        for name in self.constants:
            require(name in names, name, self.constants[name], f"a hyperparameter of {' '.join(self.optimizers)}")
        self._check_thresholding()
        for cell in self.cells():  # the rules check their own hyperparameters
            rule = cell.run
            rules.optimizer(
                rule.optimizer,
                cell.hyper.learning_rate,
                convention=rule.convention,
                **dict[str, Any](cell.hyper.constants),
            )
        data.require_ready(self.run.data)
        resident = data.describe(self.run.data).fits or not self.run.shrink_every
        require(resident, "shrink-every", self.run.shrink_every, f"0 on {name_of(self.run.data)}, which is streamed")
        training = make_train(self.run)
        if self.start is not None:
            self.start.check(training)
        kinds = choice(self.run.regularize)
        for name in self.regularizers:
            own = regularizers.KINDS.get(name) if isinstance(name, str) else None
            known = own is None or own in kinds
            require(known, "regularize", self.run.regularize, f"something with {own}s, all that {name} acts on")

    def _check_thresholding(self) -> None:
        require_choice("thresholding", self.run.thresholding, tuple(thresholding.METHODS))
        method, targets = thresholding.METHODS[self.run.thresholding], self.targets
        if method is None:
            require(not targets, "sparsity", [target.sparsity for target in targets], "left out without thresholding")
            return
        trained = isinstance(method, thresholding.Trained)
        fits = trained or self.run.density == Run.density
        require(fits, "density", self.run.density, f"left out for {self.run.thresholding}, whose bounds are fixed")
        most = len(self.run.density)
        said = "one number in (0, 1)" + f", or one for each density ({most})" * (most > 1)
        require(len(targets) in (1, most), "sparsity", [target.sparsity for target in targets], said)
        for sparsity, strength in ((float(target.sparsity), float(target.strength)) for target in targets):
            require(0 < sparsity < 1, "sparsity", sparsity, "in (0, 1)")
            uniform = self.run.thresholding == "gaussian" and self.run.initialisation == "xavier"
            fits = not uniform or sparsity < math.erf(math.sqrt(3 / 2))  # of weights uniform on +-sqrt(3) sigma, all go
            known = "below 0.91 for gaussian where kernels start uniform (initialisation he)"
            require(fits, "sparsity", sparsity, known)
            fits = math.isfinite(strength) and (strength > 0 if trained else strength == 0)
            require(fits, "sparsity-strength", strength, f"{'> 0' if trained else '0'} for {self.run.thresholding}")

    @property
    def _targets(self) -> tuple[Target, ...]:
        """One for each density."""
        trained = isinstance(thresholding.METHODS[self.run.thresholding], thresholding.Trained)
        return self.targets * len(self.run.density) if trained and len(self.targets) == 1 else self.targets

    def defaults(self, optimizer: str) -> dict[str, float]:
        """An optimizer's hyperparameters where `constants` does not replace them."""
        return rules.resolve(optimizer).constants(self.run.convention)

    def cells(self) -> list[Cell]:
        """Every cell, those of one compilation next to each other."""
        found: list[Cell] = []
        for optimizer, regularizer in itertools.product(self.optimizers, self.regularizers):
            known = self.defaults(optimizer)
            constants = {name: self.constants.get(name, value) for name, value in known.items()}
            rate = self.learning_rate if self.learning_rate is not None else rules.resolve(optimizer).learning_rate
            form = "l2" if regularizer == "none" else regularizer
            nesterov = self.run.nesterov and optimizer in rules.having("nesterov")
            run = replace(self.run, optimizer=optimizer, regularizer=form, nesterov=nesterov)
            for strength in (0.0,) if regularizer == "none" else self.strengths:
                hyper = Hyper(rate, strength, constants, self._targets)
                found += [Cell(run, hyper, seed, regularizer, self.start) for seed in self.seeds]
        forms = list(dict.fromkeys(cell.run for cell in found))
        return sorted(found, key=lambda cell: forms.index(cell.run))

    @property
    def declared(self) -> dict[str, Any]:
        """As JSON can hold it, with the names that records have of what varies."""
        names = {field: [name_of(each) for each in getattr(self, field)] for field in ("optimizers", "regularizers")}
        return {**plain(self), **names}

    def write(self, folder: Path, grows: bool = True) -> None:
        """Puts the declaration into the grid's folder, with what else decides the figures: images and update rules.

        Args:
          folder: new, or one of the same grid.
          grows: whether the same grid may have had fewer optimizers, regularizers, strengths and seeds, or others: the
            folder then is that of all of them.

        Raises:
          InvalidInput: where another declaration is there already, with the differences.
        """
        origin = origin_of(self.run)
        started = self.start.described if self.start is not None else {}
        usual = {each.name: each.default for each in fields(self) if each.default is not MISSING}
        before = {**usual, "run": plain(Run()), **origin, "rules": 1}
        told = {**self.declared, **started, **origin}
        growing = GROWING if grows else ()
        records.declare(folder / "grid.json", "grid", told, before, _in_todays_names, growing)
