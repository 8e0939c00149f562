"""Records small VGG networks of PyTorch and their logits, which the tests of `from_torch` compare with.

Run, with PyTorch installed (recorded with torch 2.13.0+cpu, numpy 2.4.6, safetensors 0.8.0):

    python tests/recorded/record_vgg.py

For each layout, `vgg-torchvision` (VGG-11 on 64x64 images) and `vgg-slimming` (VGG-11 on 32x32 images), it writes
LAYOUT.safetensors, the network's `state_dict` as `safetensors.torch.save_file` writes it, and LAYOUT.npz with `images`
uint8 [2, 3, H, W], which the network gets divided by 255, and `logits` [2, 7] in float64.

The networks are written from the publications' tables: torchvision ends in a max-pool, an average to 7x7 pixels and
three dense layers; network slimming (Liu et al. 2017) in an average over 2x2 pixels and one dense layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

GROUPS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (4, 5, 6, 8, 8)
CLASSES = 7


class VGG(nn.Module):
    """Convolutions in `features` or, for network slimming, `feature`; dense layers in `classifier`."""

    def __init__(self, depth: int, *, slimming: bool = False, norm: bool = True, averaged: bool = True):
        """`averaged`: to 7x7 pixels before the dense layers of torchvision's layout."""
        super().__init__()
        self.slimming = slimming
        layers: list[nn.Module] = []
        channels = 3
        for group, (width, times) in enumerate(zip(WIDTHS, GROUPS[depth], strict=True)):
            for _ in range(times):
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=not slimming)]
                layers += [nn.BatchNorm2d(width)] if norm else []
                layers += [nn.ReLU()]
                channels = width
            layers += [nn.MaxPool2d(2)] if group < 4 or not slimming else []
        if slimming:
            self.feature = nn.Sequential(*layers)
            self.average = nn.AvgPool2d(2)
            self.classifier: nn.Module = nn.Linear(channels, CLASSES)
        else:
            self.features = nn.Sequential(*layers)
            self.average = nn.AdaptiveAvgPool2d(7) if averaged else nn.Identity()
            pixels = 49 if averaged else 1
            hidden = [nn.Linear(channels * pixels, 10), nn.ReLU(), nn.Dropout(), nn.Linear(10, 9), nn.ReLU()]
            self.classifier = nn.Sequential(*hidden, nn.Dropout(), nn.Linear(9, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.average((self.feature if self.slimming else self.features)(x))
        return self.classifier(x.flatten(1))


def network(depth: int, **options: bool) -> VGG:
    """A network in evaluation mode, none of whose parameters and statistics has its initial value."""
    torch.manual_seed(depth)
    made = VGG(depth, **options)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.3)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                module.weight[1], module.bias[1] = 0.0, 0.25  # a dead unit
    return made.eval()


def images(height: int, width: int) -> np.ndarray:
    """Two images [2, 3, height, width] of random pixels, 0 to 255."""
    return np.random.default_rng(0).integers(0, 256, (2, 3, height, width), dtype=np.uint8)


def logits(made: VGG, pixels: np.ndarray) -> np.ndarray:
    """What the network says, computed in float64."""
    with torch.no_grad():
        return made.double()(torch.tensor(pixels / 255)).numpy()


def main() -> None:
    for layout, side in (("torchvision", 64), ("slimming", 32)):
        made = network(11, slimming=layout == "slimming")
        path = Path(__file__).with_name(f"vgg-{layout}")
        safetensors.torch.save_file(made.state_dict(), path.with_suffix(".safetensors"))
        pixels = images(side, side)
        np.savez_compressed(path.with_suffix(".npz"), allow_pickle=False, images=pixels, logits=logits(made, pixels))


if __name__ == "__main__":
    main()
