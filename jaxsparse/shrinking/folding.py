"""Where the constants of removed channels go.

Without the removed channels a later value lacks something: `masked - shrunk`, its *loss*. A loss is made where a
product sums over removed channels whose constant is not zero; it follows every linear step; it ends where a parameter
is added or subtracted that nothing else uses and that can take it up exactly: a bias, or a normalisation's running
mean. If it meets anything else - a ReLU, the output, a factor that varies - the channels that caused it have to stay.

Zero padding is what makes this hard: near the border a window sees less of the constant, so that the loss differs from
pixel to pixel, and no bias of a channel equals it. What happens then is `Borders`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.shrinking.channels import Channels
from jaxsparse.shrinking.flow import Flow
from jaxsparse.tracing.operations import (
    CONTRACTIONS,
    IDENTITY,
    LINEAR,
    MOVING,
    contract,
    contracted,
    spread,
)
from jaxsparse.tracing.program import Program, Step

ROUNDING = 64
"""A loss counts as zero, or as equal to what a bias can give, within so many units of rounding of what it sums up."""


class Borders(StrEnum):
    """What to do with a constant that zero padding makes differ near the borders.

    Example:
      A dead unit puts out the constant relu(0.5), and zeros around the image make its sum smaller near the borders:

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.BatraNet(2, shape=(8, 8, 1), widths=(2, 3), head=(), rngs=nnx.Rngs(0))
      >>> model.convolutions[0].kernel[..., 0], model.convolutions[0].bias[0] = 0.0, 0.5
      >>> for borders in js.shrinking.Borders:
      ...     smaller, report = js.shrink(model, jnp.ones((1, 8, 8, 1)), borders=borders)
      ...     print(borders, report.widths["convolutions/0"], smaller.convolutions[1].bias.shape)
      keep (2, 2) (3,)
      map (2, 1) (8, 8, 3)
    """

    KEEP = "keep"
    """the units that put it out stay"""
    MAP = "map"
    """the convolution that reads it gets a bias for each position, `[height, width, channels]`; from then on it takes
    images of the example's size only"""


@dataclass(frozen=True)
class Loss:
    """What a value lacks in the shrunk model."""

    value: np.ndarray
    size: np.ndarray
    """the same with all terms positive: what its rounding is relative to"""
    sources: frozenset[int]
    """channels whose constants are in it"""
    borders: bool = False
    """it differs between the pixels of a channel"""

    @property
    def rounding(self) -> np.ndarray:
        return ROUNDING * float(jnp.finfo(self.value.dtype).eps) * self.size

    def only(self, where: np.ndarray) -> Loss | None:
        """The loss at these elements and zero elsewhere; None if nothing is left of it."""
        counts = where & (np.abs(self.value) > self.rounding)
        if not counts.any():
            return None
        return replace(self, value=np.where(where, self.value, 0), size=np.where(where, self.size, 0))


@dataclass
class Folding:
    """The outcome of one attempt.

    Attributes:
      taken: what is added to parameters, by name, in their full shapes.
      sources: the channels whose constants that is, by the same names.
      maps: bias by position of convolutions, by the name of their kernel, in the full number of channels.
      stay: channels that can't be removed, with the reason.
      folded: channels whose constant was not zero and is taken up.
    """

    taken: dict[str, np.ndarray] = field(default_factory=dict)
    sources: dict[str, frozenset[int]] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    stay: dict[int, str] = field(default_factory=dict)
    folded: set[int] = field(default_factory=set)


def fold(program: Program, flow: Flow, channels: Channels, removed: np.ndarray, borders: Borders) -> Folding:
    """Follows the losses through the program.

    Args:
      removed: booleans by channel number.
      borders: see `Borders`.
    """
    return _Attempt(program, flow, channels, removed, borders).run()


class _Attempt:
    def __init__(self, program: Program, flow: Flow, channels: Channels, removed: np.ndarray, borders: Borders):
        self.program, self.flow, self.channels, self.removed, self.borders = program, flow, channels, removed, borders
        self.losses: dict[int, Loss] = {}
        self.found = Folding()
        self.parameter_of = {number: name for name, number in program.names.items()}

    def run(self) -> Folding:
        for index, step in enumerate(self.program.steps):
            loss = self._made(index, step)
            if loss is not None:
                self.found.folded |= loss.sources
                self._leave(step.outputs[0], loss)
            elif any(number in self.losses for number in step.inputs) and step.name not in CONTRACTIONS:
                self._pass_on(step)
        for number in self.program.outputs:
            if number in self.losses:
                self._fail(self.losses[number], "its constant would reach the model's output")
        return self.found

    def _gone(self, number: int) -> np.ndarray:
        """Which elements of a value are removed."""
        shape = self.program.shapes[number]
        gone = np.zeros(shape, bool)
        for axis, labels in enumerate(self.channels.labels[number]):
            where = (labels > 0) & self.removed[np.maximum(self.channels.find(labels), 0)]
            gone |= where.reshape([-1 if other == axis else 1 for other in range(len(shape))])
        return gone

    def _matters(self, number: int) -> np.ndarray:
        """Which elements of a value are there afterwards, and read."""
        return self.flow.read[number] & ~self._gone(number)

    def _leave(self, number: int, loss: Loss) -> None:
        kept = loss.only(self._matters(number))
        if kept is not None:
            self.losses[number] = kept

    def _fail(self, loss: Loss, reason: str) -> None:
        if loss.borders:
            reason = f"zero padding makes its constant differ near the borders (Borders.MAP removes it), and {reason}"
        for channel in loss.sources:
            self.found.stay.setdefault(channel, reason)

    def _made(self, index: int, step: Step) -> Loss | None:
        """The loss of a product: what removed channels contributed, and what its inputs lack."""
        if step.name not in CONTRACTIONS:
            return None
        one, other = step.inputs
        given = [self.losses.get(number) for number in step.inputs]
        if given[1] is not None and (given[0] is not None or one in self.program.dependent):
            self._fail(given[1], f"its constant is multiplied by what varies ({step.name})")
            return None
        if given[0] is not None and other in self.program.dependent:
            self._fail(given[0], f"its constant is multiplied by what varies ({step.name})")
            return None
        a, b = self.flow.values[one], self.flow.values[other]
        missing, sources = self._missing(index, step)
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        if given[1] is not None:
            parts.append((a, given[1].value, np.abs(a), given[1].size))
        lacking = np.where(missing, a, 0 if given[0] is None else given[0].value)
        size = np.where(missing, np.abs(a), 0 if given[0] is None else given[0].size)
        if lacking.any():
            parts.append((lacking, b, size, np.abs(b)))
        if not parts:
            return None
        sources |= frozenset().union(*(loss.sources for loss in given if loss is not None))
        dtype = np.float64 if a.dtype == np.float64 else np.float32

        def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.asarray(contract(step, jnp.asarray(x, dtype), jnp.asarray(y, dtype)))

        value = np.sum([product(x, y) for x, y, _, _ in parts], 0)
        size = np.sum([product(x, y) for _, _, x, y in parts], 0)
        kept = Loss(value, size, sources, any(loss.borders for loss in given if loss is not None))
        kept = kept.only(self._matters(step.outputs[0]))
        if kept is None or step.name != "conv_general_dilated":
            return kept
        space = step.params["dimension_numbers"].out_spec[2:]
        if (np.ptp(kept.value, space) > kept.rounding.max(space)).any():
            return None if self._mapped(step, kept) else replace(kept, borders=True)
        return kept

    def _missing(self, index: int, step: Step) -> tuple[np.ndarray, frozenset[int]]:
        """Elements of the first input that are summed over in the masked model and removed in the shrunk one, and the
        channels among them that contribute."""
        number = step.inputs[0]
        value, read = self.flow.values[number], self.flow.read_by.get(index, (np.True_,))[0]
        missing, sources = np.zeros(value.shape, bool), set()
        for axis, _ in contracted(step, value.shape):
            labels = self.channels.labels[number][axis]
            roots = np.maximum(self.channels.find(labels), 0)
            where = (labels > 0) & self.removed[roots]
            rest = tuple(other for other in range(value.ndim) if other != axis)
            sources |= set(roots[where & (read & (value != 0)).any(rest)].tolist())
            missing |= where.reshape([-1 if other == axis else 1 for other in range(value.ndim)])
        return missing, frozenset(sources)

    def _mapped(self, step: Step, loss: Loss) -> bool:
        """Puts a loss that differs between pixels into a bias by position, if this is wanted and possible."""
        kernel = self.program.origin(step.inputs[1])
        last = loss.value.ndim - 1
        in_order = step.params["dimension_numbers"].out_spec == (0, last, *range(1, last))
        if self.borders is not Borders.MAP or not in_order or kernel is None or not kernel.endswith("kernel"):
            return False
        if self.program.uses[self.program.names[kernel]] != 1:  # a layer that is called more than once
            return False
        self.found.folded |= loss.sources
        self.found.maps[kernel] = loss.value[0]
        return True

    def _form_of(self, number: int) -> tuple[str, Callable[[Any], Any]] | None:
        """The parameter that a value is a rearrangement of, and the rearrangement; None if anything else uses it."""
        if self.program.uses[number] != 1:
            return None
        if number in self.parameter_of:
            return self.parameter_of[number], lambda array: array
        step = self.program.producers.get(number)
        if step is None or step.name not in IDENTITY | MOVING or len(step.inputs) != 1:
            return None
        inner = self._form_of(step.inputs[0])
        if inner is None:
            return None
        name, form = inner
        return name, lambda array: step(form(array))[0]

    def _absorbed(self, step: Step, loss: Loss) -> bool:
        """Gives the loss to the parameter that is added (or subtracted) here, if it can take it exactly."""
        sign = {"add": 1, "add_any": 1, "sub": -1}.get(step.name)
        lossy = [position for position, number in enumerate(step.inputs) if number in self.losses]
        if sign is None or (step.name == "sub" and lossy != [0]):
            return False
        form = self._form_of(step.inputs[1 - lossy[0]])
        if form is None or form[0] in self.found.taken:
            return False
        name, rearrange = form
        shape = self.program.shapes[self.program.names[name]]
        output = step.outputs[0]
        whole = self.program.shapes[output]
        value, rounding = np.broadcast_to(loss.value, whole), np.broadcast_to(loss.rounding, whole)
        matters = jnp.asarray(self._matters(output), value.dtype)
        parameter = jnp.asarray(self.flow.values[self.program.names[name]])

        def spread_out(array: jax.Array) -> jax.Array:
            return jnp.broadcast_to(rearrange(array).astype(value.dtype), whole)

        _, gather = jax.vjp(spread_out, jnp.zeros(shape, parameter.dtype))
        count = gather(matters)[0]
        taken = gather(matters * value)[0] / jnp.maximum(count, 1)
        rest = np.abs(np.asarray(spread_out(taken)) - value)
        bound = rounding + ROUNDING * float(jnp.finfo(parameter.dtype).eps) * np.abs(value)
        if (rest > bound)[np.asarray(matters) > 0].any():
            return False
        self.found.taken[name] = sign * np.asarray(taken)
        self.found.sources[name] = loss.sources
        return True

    def _pass_on(self, step: Step) -> None:
        """A step other than a product of arrays: absorbed, passed on, or failed."""
        lossy = [number for number in step.inputs if number in self.losses]
        loss = self.losses[lossy[0]]
        if len(lossy) == 1 and self._absorbed(step, loss):
            return
        for position, output in enumerate(step.outputs):
            reasons = self._obstacle(step)
            if reasons is not None:
                for number in lossy:
                    if self._matters(output).any():
                        self._fail(self.losses[number], reasons)
                continue
            sources = frozenset().union(*(self.losses[number].sources for number in lossy))
            borders = any(self.losses[number].borders for number in lossy)
            if step.name == "optimization_barrier":
                part = self.losses.get(step.inputs[position])
                if part is not None:
                    self._leave(output, part)
                continue
            value = self._linear(step, lambda loss: loss.value, signed=True)[position]
            size = self._linear(step, lambda loss: loss.size, signed=False)[position]
            self._leave(output, Loss(value, size, sources, borders))

    def _obstacle(self, step: Step) -> str | None:
        """Why a loss can't be followed through a step."""
        lossy = [position for position, number in enumerate(step.inputs) if number in self.losses]
        others = [number for number in step.inputs if number not in self.losses]
        varying = any(number in self.program.dependent for number in others)
        if step.name not in LINEAR or (step.name == "div" and 1 in lossy) or (step.name == "select_n" and 0 in lossy):
            return f"no bias takes its constant up before a step that is not linear ({step.name})"
        if step.name in ("mul", "div") and (varying or len(lossy) > 1):
            return f"its constant is multiplied by what varies ({step.name})"
        if step.name == "select_n" and step.inputs[0] in self.program.dependent:
            return "its constant is selected by what varies"
        return None

    def _linear(self, step: Step, of: Callable[[Loss], np.ndarray], *, signed: bool) -> list[np.ndarray]:
        """A linear step of the losses; of their sizes, with every sign positive."""
        name, values = step.name, self.flow.values
        some = of(self.losses[next(number for number in step.inputs if number in self.losses)])

        def lost(number: int) -> np.ndarray:
            if number in self.losses:
                return of(self.losses[number])
            return np.zeros(self.program.shapes[number], some.dtype)

        losses = [lost(number) for number in step.inputs]
        if name in ("mul", "div"):
            factors = [values[n] if n not in self.losses else of(self.losses[n]) for n in step.inputs]
            factors = factors if signed else [np.abs(factor) for factor in factors]
            return [np.multiply(*factors) if name == "mul" else np.divide(*factors)]
        if name == "sub":
            return [losses[0] - losses[1] if signed else losses[0] + losses[1]]
        if name == "neg":
            return [-losses[0] if signed else losses[0]]
        fixed = [number not in self.program.dependent for number in step.inputs]
        arrays: Sequence[Any] = [jnp.asarray(loss) for loss in losses]
        seen = [values[number] for number in step.inputs]
        return [np.asarray(out) for out in spread(step, arrays, arrays, seen, fixed)]
