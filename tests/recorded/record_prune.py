"""Records masks of `torch.nn.utils.prune` as `prune.npz`, which the tests compare with.

Run, with PyTorch installed (recorded with torch 2.13.0+cpu, numpy 2.4.6):

    python tests/recorded/record_prune.py

The file holds the kernels `weights/NAME` of a convolution and two dense layers in the package's layout, `[height,
width, inputs, outputs]` and `[inputs, outputs]`, and for every amount the masks (true = kept)
`METHOD/AMOUNT/NAME`: `global` (global_unstructured, L1Unstructured), `layer` (l1_unstructured of each layer) and
`filters` (ln_structured of each layer, the outputs by their L1 norm).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import prune

AMOUNTS = (0.0, 0.1, 0.25, 0.5, 0.9, 1.0)


def modules() -> dict[str, torch.nn.Module]:
    """Of different scales, so that a global threshold differs from those of the layers."""
    torch.manual_seed(0)
    found = {
        "convolution": torch.nn.Conv2d(3, 5, 3, bias=False),
        "first": torch.nn.Linear(12, 7, bias=False),
        "second": torch.nn.Linear(7, 3, bias=False),
    }
    for scale, module in zip((1.0, 0.3, 2.0), found.values(), strict=True):
        torch.nn.init.normal_(module.weight, std=scale)
    return found


def to_jax(weight: torch.Tensor) -> np.ndarray:
    """Outputs last: `[outputs, inputs, ..]` to `[.., inputs, outputs]`."""
    return np.ascontiguousarray(np.moveaxis(weight.detach().numpy(), (0, 1), (-1, -2)))


def main() -> None:
    arrays = {f"weights/{name}": to_jax(module.weight) for name, module in modules().items()}
    for amount in AMOUNTS:
        found = modules()
        together = [(module, "weight") for module in found.values()]
        prune.global_unstructured(together, pruning_method=prune.L1Unstructured, amount=amount)
        arrays |= {f"global/{amount}/{name}": to_jax(module.weight_mask) > 0 for name, module in found.items()}
        for name, module in modules().items():
            prune.l1_unstructured(module, "weight", amount)
            arrays[f"layer/{amount}/{name}"] = to_jax(module.weight_mask) > 0
        for name, module in modules().items():
            prune.ln_structured(module, "weight", amount, n=1, dim=0)
            arrays[f"filters/{amount}/{name}"] = to_jax(module.weight_mask) > 0
    np.savez_compressed(Path(__file__).with_name("prune.npz"), allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
