"""Networks as their authors write them, to measure and to shrink: nothing in them is of this package.

A module holds one: the network, as it stands in the repository or paper that it is from, but in `flax.nnx`; and which
of its units it can lose, `kill`, written down by the names of its own parts.

| name          | what is in it                                                                        |
|---------------|--------------------------------------------------------------------------------------|
| `resnet-18`   | convolution, normalisation, convolution, normalisation in one module; residual sums  |
| `vgg-16`      | convolutions with biases in one list; an image that is flattened into dense layers   |
| `mobilenet-v2`| depthwise convolutions, ReLU6, sums of values that no activation function ends       |
| `convnext`    | depthwise convolutions with layer normalisation, a scale behind each branch          |
| `gpt`         | causal attention from one fused product, an embedding that is the output's too       |
| `vit`         | attention in heads, a class token, gates and values of one fused product (SwiGLU)    |
| `unet`        | values that skip the middle and are concatenated again, transposed convolutions      |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.bench.architectures import convnext, gpt, mobilenet, resnet, unet, vgg, vit
from jaxsparse.export import Card


@dataclass(frozen=True)
class Architecture:
    """A network of any width, what it takes, and how it dies."""

    build: Callable[[float, nnx.Rngs], Any]
    """with its widths times a number"""
    kill: Callable[[Any, np.random.Generator, float], None]
    """lets a share of its units die, in place"""
    shape: tuple[int, ...]
    """of an input"""
    classes: int = 10
    tokens: int | None = None
    """it takes so many different whole numbers; none: real ones"""

    def made(self, width: float = 1.0, share: float = 0.5, seed: int = 0) -> Any:
        """In evaluation mode, with this share of its units dead and all else at random, statistics and shifts too."""
        rng = np.random.default_rng(seed)
        model = self.build(width, nnx.Rngs(seed))
        model.eval()
        for path, variable in nnx.to_flat_state(nnx.state(model)):
            drawn = _DRAWN.get(str(path[-1]))
            if drawn is not None:
                variable[...] = jnp.asarray(drawn(rng, variable.shape), variable.dtype)
        self.kill(model, rng, share)
        return model

    def card(self, name: str) -> Card:
        """What a file says of it."""
        return Card(name, self.shape, self.classes, (), dtype="float32" if self.tokens is None else "int32")

    def input(self, count: int, shape: tuple[int, ...] | None = None, seed: int = 0) -> jax.Array:
        """At random: so many, of another shape where it is given."""
        rng, whole = np.random.default_rng(seed), (count, *(shape or self.shape))
        return (
            jnp.asarray(rng.normal(size=whole), jnp.float32)
            if self.tokens is None
            else jnp.asarray(rng.integers(0, self.tokens, whole))
        )


def _around(centre: float, spread: float) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    return lambda rng, shape: rng.normal(centre, spread, shape)


_DRAWN: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "scale": _around(1.0, 0.1),
    "gamma": _around(1.0, 0.1),
    "bias": _around(0.0, 0.1),
    "mean": _around(0.0, 0.1),
    "var": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
}
"""By the last name of an array, what it holds; others stay as the network has them from the start."""

ARCHITECTURES: Mapping[str, Architecture] = {
    "resnet-18": Architecture(resnet.ResNet18, resnet.kill, (64, 64, 3)),
    "vgg-16": Architecture(vgg.VGG16, vgg.kill, (64, 64, 3)),
    "mobilenet-v2": Architecture(mobilenet.MobileNetV2, mobilenet.kill, (64, 64, 3)),
    "convnext": Architecture(convnext.ConvNeXt, convnext.kill, (64, 64, 3)),
    "gpt": Architecture(gpt.GPT, gpt.kill, (gpt.CONTEXT,), gpt.VOCABULARY, gpt.VOCABULARY),
    "vit": Architecture(vit.ViT, vit.kill, (64, 64, 3)),
    "unet": Architecture(unet.UNet, unet.kill, (64, 64, 3), 2),
}
