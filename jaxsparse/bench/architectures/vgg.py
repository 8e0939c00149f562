"""VGG-16 with batch normalisation (Simonyan and Zisserman 2015), the modules and names of torchvision's `vgg16_bn`,
but for the average before the dense layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxsparse.bench.architectures.dying import drawn, scaled_away, without_weights

CONFIGURATION = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
HIDDEN = 1024


class VGG16(nnx.Module):
    def __init__(self, width: float, rngs: nnx.Rngs, classes: int = 10, side: int = 64):
        layers: list[Any] = []
        channels = 3
        for entry in CONFIGURATION:
            if entry == "M":
                layers.append(partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2)))
                continue
            units = max(4, int(width * int(entry)))
            layers += [
                nnx.Conv(channels, units, (3, 3), padding=1, rngs=rngs),
                nnx.BatchNorm(units, rngs=rngs),
                nnx.relu,
            ]
            channels = units
        self.features = nnx.Sequential(*layers)
        hidden, pixels = max(8, int(width * HIDDEN)), (side // 32) ** 2
        self.classifier = nnx.Sequential(
            nnx.Linear(channels * pixels, hidden, rngs=rngs),
            nnx.relu,
            nnx.Dropout(0.5, rngs=rngs),
            nnx.Linear(hidden, hidden, rngs=rngs),
            nnx.relu,
            nnx.Dropout(0.5, rngs=rngs),
            nnx.Linear(hidden, classes, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.features(x)
        return self.classifier(x.reshape(x.shape[0], -1))


def kill(model: VGG16, rng: np.random.Generator, share: float) -> None:
    """In all layers; of the dense ones, which have no scale, without weights."""
    for layer in model.features.layers:
        if isinstance(layer, nnx.BatchNorm):
            scaled_away(layer, drawn(rng, layer.num_features, share))
    for layer in (model.classifier.layers[0], model.classifier.layers[3]):
        without_weights(layer, drawn(rng, layer.out_features, share))
