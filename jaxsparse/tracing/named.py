"""Layers from the names and shapes of parameters alone, where there is no computation to read.

A kernel and a scale are one layer where nothing else can be meant:

- they are the `linear` and the `norm` of a block of this package, or
- they are side by side under names with the same number (`conv1`, `bn1`), the scale has as many numbers as the kernel
  has outputs, and so it is wherever in the tree their number of inputs is another one. Where a scale fits the inputs
  instead (a normalisation before its layer), or nothing tells the two apart, each is a layer of its own.

`jaxsparse.tracing.units` reads the same off the computation, and guesses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from jaxsparse.tracing.units import BIAS, SCALE, SHIFT, WEIGHT, Layer, Part, labelled
from jaxsparse.trees import Kind, Tree, flatten, kinds

ROLES = {Kind.KERNEL: WEIGHT, Kind.BIAS: BIAS, Kind.SCALE: SCALE, Kind.SHIFT: SHIFT}


def layers(params: Tree, only: str = "") -> list[Layer]:
    """The layers of a tree of parameters (their shapes, masks) below a path, in the order of their names."""
    shapes = {name: np.shape(leaf) for name, leaf in flatten(params).items()}
    roles = dict(zip(shapes, map(ROLES.get, jax.tree.leaves(kinds(params))), strict=True))
    modules: dict[str, list[str]] = {}
    for name, role in roles.items():
        if role is not None and shapes[name]:
            modules.setdefault(name.rpartition("/")[0], []).append(name)
    first = {module: next((n for n in names if roles[n] == WEIGHT), None) for module, names in modules.items()}
    scales = {module: next((n for n in names if roles[n] == SCALE), None) for module, names in modules.items()}
    pairs = dict(_pairs({m: shapes[n] for m, n in first.items() if n}, {m: shapes[n] for m, n in scales.items() if n}))
    found = []
    for module, names in modules.items():
        if module in pairs.values() or not (first[module] or scales[module]):
            continue
        own = [*names, *modules[pairs[module]]] if module in pairs else names
        whole = first[module] or scales[module] or ""
        size = shapes[whole][_axis(whole, shapes[whole])]
        parts = [
            Part.of(n, str(roles[n]), _along(_axis(n, shapes[n]), shapes[n]))
            for n in own
            if shapes[n][_axis(n, shapes[n])] == size
        ]
        found.append(Layer("", (), size, tuple(parts)))
    named = [layer for layer in labelled(found, list(shapes)) if layer.below(only)]
    return sorted(named, key=lambda layer: [part.zfill(4) for part in layer.name.split("/")])


def _axis(name: str, shape: Sequence[int]) -> int:
    """The axis of the units: the last one, but the first of what is called `weight` (equinox, PyTorch)."""
    return 0 if name.rpartition("/")[2] == "weight" else len(shape) - 1


def _along(axis: int, shape: Sequence[int]) -> np.ndarray:
    return np.broadcast_to(np.arange(shape[axis]).reshape([-1 if at == axis else 1 for at in range(len(shape))]), shape)


def _pairs(kernels: Mapping[str, tuple[int, ...]], scales: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, str]]:
    """Modules of kernels and of the scales behind them."""
    numbered = []
    for kernel, shape in kernels.items():
        holder, _, name = kernel.rpartition("/")
        block = f"{holder}/norm" if holder else "norm"
        if name == "linear" and scales.get(block, ())[-1:] == shape[-1:]:
            yield kernel, block
            continue
        end = re.search(r"\d+$", name)
        for scale, own in scales.items() if end else ():
            beside, _, other = scale.rpartition("/")
            number = re.search(r"\d+$", other)
            if beside == holder and number and end and number.group() == end.group() and own:
                numbered.append((kernel, scale, own[-1:] == shape[-1:], len(shape) > 1 and own[-1:] == shape[-2:-1]))
    behind = any(fits and not before for _, _, fits, before in numbered)
    elsewhere = any(not fits for _, _, fits, _ in numbered)
    if behind and not elsewhere:
        yield from ((kernel, scale) for kernel, scale, _, _ in numbered)
