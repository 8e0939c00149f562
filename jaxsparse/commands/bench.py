"""`jaxsparse bench`: a dataclass for each benchmark, whose fields are its flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import tyro

from jaxsparse import records
from jaxsparse.bench import arguments
from jaxsparse.bench.decay import decay
from jaxsparse.bench.grid import grid
from jaxsparse.bench.measuring import measure
from jaxsparse.bench.picture import draw
from jaxsparse.bench.precision import precision
from jaxsparse.bench.profile import profile
from jaxsparse.bench.scale import scale
from jaxsparse.bench.shrink import against_torch_pruning, of_architectures, shrink
from jaxsparse.bench.step import step
from jaxsparse.bench.timing import Work
from jaxsparse.bench.torch_table import beside_torch
from jaxsparse.data import noise
from jaxsparse.report import figures

Found: TypeAlias = dict[str, object]
"""What was measured, by name."""


@dataclass(frozen=True)
class Network:
    """What all benchmarks of a network take."""

    model: str = "mlp"
    """mlp, basicnet, vgg-11, vgg-16, vgg-19, wrn-10-1, wrn-16-3, wrn-16-8, resnet-50, alexnet or batranet"""
    width: float = 1.0
    """multiplies the network's own widths"""
    image: str | None = None
    """HEIGHTxWIDTHxCHANNELS [mlp: 8x8x1, others: 32x32x3]"""
    batch: int = 64
    """images in a step"""

    @property
    def shape(self) -> str:
        return self.image or ("8x8x1" if self.model == "mlp" else "32x32x3")


@dataclass(frozen=True)
class Training(Network):
    """What all benchmarks of a training take."""

    images: int = noise.TRAIN_SIZE
    """random images, all on the device; 50000 are CIFAR's"""
    precision: str = "float32"
    """float32 or bfloat16"""

    @property
    def work(self) -> Work:
        return Work(self.model, self.width, self.shape, self.batch, self.images, self.precision)


@dataclass(frozen=True)
class Printed:
    """What all benchmarks take."""

    json: bool = False
    """print one JSON object instead of text"""

    def text(self, found: Mapping[str, Any]) -> str:
        """What was measured, for people."""
        return "\n".join(f"{name:24} {value}" for name, value in found.items())


@dataclass(frozen=True)
class Rounds(Printed):
    """What benchmarks take that measure several times."""

    rounds: int = 7
    """measurements, of which the median counts"""


@dataclass(frozen=True)
class Step(Rounds, Training):
    """Time the training step of a grid."""

    cells: int | None = None
    """networks trained side by side [one a device; a CPU's core is one]"""
    packing: str | None = None
    """of more cells than devices, see grid --help"""
    against: str | None = None
    """torch: time an equivalent PyTorch loop in the same run, alternating (mlp and basicnet)"""
    thresholding: str = "none"
    """time the step of a sparse network in the same run, alternating (see train --help)"""

    def measure(self) -> Found:
        return step(self.work, self.cells, self.packing, self.rounds, self.against, self.thresholding)


@dataclass(frozen=True)
class Grid(Rounds, Training):
    """Time a grid, and its training steps alone: how much of it is steps?"""

    optimizers: tuple[str, ...] = ("adam",)
    regularizers: tuple[str, ...] = ("l2",)
    """see grid --help"""
    seeds: int | None = None
    """networks of each combination [as many as make four a device]"""
    seconds: float = 5.0
    """of a network's steps, about"""

    def measure(self) -> Found:
        return grid(self.work, self.optimizers, self.regularizers, self.seeds, self.seconds, self.rounds)


@dataclass(frozen=True)
class Scale(Rounds, Training):
    """Time the training step on 1, 2, 4 and 8 devices."""

    def measure(self) -> Found:
        return scale(self.work, self.rounds)


@dataclass(frozen=True)
class Decay(Rounds):
    """Time the simulator of single weights."""

    against: str | None = None
    """torch: time PyTorch on the same weights in the same run, alternating"""

    def measure(self) -> Found:
        return decay(self.rounds, self.against)


@dataclass(frozen=True)
class Measure(Rounds, Training):
    """Time a measurement of a network in training, beside the steps between."""

    def measure(self) -> Found:
        return measure(self.work, self.rounds)


@dataclass(frozen=True)
class Shrink(Rounds, Network):
    """Time a network before and after half of its units are removed."""

    against: str | None = None
    """torch-pruning: remove the same dead channels with it, of a resnet-18 or vgg-16 on 64x64x3 in PyTorch, and time
    both, alternating"""

    def measure(self) -> Found:
        if self.against is None:
            return shrink(self.model, self.width, self.shape, self.batch, self.rounds)
        arguments.check(self.rounds, self.against, "torch-pruning")
        return against_torch_pruning(self.model, self.width, self.batch, self.rounds)


@dataclass(frozen=True)
class Architectures(Rounds):
    """Time networks as their authors write them before and after half of the units that each can lose are removed."""

    names: tuple[str, ...] = ()
    """resnet-18, vgg-16, mobilenet-v2, convnext, gpt, vit or unet [all]"""
    width: float = 0.5
    """multiplies their own widths"""
    batch: int = 8
    """inputs in a call"""

    def measure(self) -> Found:
        return dict(of_architectures(self.names, self.width, self.batch, self.rounds))

    def text(self, found: Mapping[str, Any]) -> str:
        """A table in Markdown."""
        lines = [
            "| network | units | dead | removed | parameters | multiplications | latency | largest difference |",
            "|---------|------:|-----:|--------:|-----------:|----------------:|--------:|-------------------:|",
        ]
        for name, row in found.items():
            parameters, macs = (" → ".join(f"{each:,}" for each in row[key]) for key in ("parameters", "macs"))
            latency = " → ".join(f"{each:.3g}" for each in row["milliseconds"])
            cells = name, row["units"], row["dead"], row["removed"], parameters, macs, f"{latency} ms"
            lines.append(f"| {' | '.join(map(str, cells))} | {row['difference']:.1e} |")
        return "\n".join([*lines, "", next(iter(found.values()))["processor"]])


@dataclass(frozen=True)
class Torch(Rounds):
    """Time everything that can be timed beside PyTorch and print it as a table."""

    def measure(self) -> Found:
        return beside_torch(self.rounds)

    def text(self, found: Mapping[str, Any]) -> str:
        """A table in Markdown."""
        lines = ["| work | jaxsparse | PyTorch | ratio | its best way |", "|------|----------:|--------:|------:|---|"]
        for name, row in found.items():
            if name != "processor":
                ours, theirs = (f"{row[key]:.3g} ms" for key in ("ms", "torch_ms"))
                lines.append(f"| {name} | {ours} | {theirs} | {row['ratio']:.2f} | {row['best']} |")
        return "\n".join([*lines, "", str(found["processor"])])


@dataclass(frozen=True)
class Precision(Printed):
    """See which units die in bfloat16, beside those that die in float32."""

    model: str = "mlp"
    """mlp, basicnet, vgg-11, vgg-16, vgg-19, wrn-10-1, wrn-16-3, wrn-16-8, resnet-50, alexnet or batranet"""
    rounds: int = 7
    """networks"""

    def measure(self) -> Found:
        return precision(self.model, networks=self.rounds)


@dataclass(frozen=True)
class Profile(Printed, Training):
    """See which operations a training step spends its time in, on one device."""

    out: Path | None = None
    """folder for a picture, and the trace, which XProf and Perfetto show [nothing is written]"""

    def measure(self) -> Found:
        if self.out is not None:
            records.writable(self.out)
        alone, spent = profile(self.work, self.out)
        if self.out is not None:
            picture = draw(spent, alone)
            records.write_bytes(self.out / "profile.png", figures.png(picture))
            records.write_text(self.out / "profile.svg", figures.svg(picture))
        return {"us_per_step": alone, **{" ".join(one.operation): one.microseconds for one in spent}}


What: TypeAlias = (
    Annotated[Step, tyro.conf.subcommand("step")]
    | Annotated[Grid, tyro.conf.subcommand("grid")]
    | Annotated[Scale, tyro.conf.subcommand("scale")]
    | Annotated[Decay, tyro.conf.subcommand("decay")]
    | Annotated[Measure, tyro.conf.subcommand("measure")]
    | Annotated[Shrink, tyro.conf.subcommand("shrink")]
    | Annotated[Architectures, tyro.conf.subcommand("architectures")]
    | Annotated[Torch, tyro.conf.subcommand("torch")]
    | Annotated[Precision, tyro.conf.subcommand("precision")]
    | Annotated[Profile, tyro.conf.subcommand("profile")]
)


@dataclass(frozen=True)
class Bench:
    """Time what the project runs, on the machine at hand."""

    what: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[What]] = field(default_factory=Step)


def command(flags: Bench, _: str) -> int:
    """The command's action; its exit status."""
    found = flags.what.measure()
    print(json.dumps(found) if flags.what.json else flags.what.text(found))
    return 0
