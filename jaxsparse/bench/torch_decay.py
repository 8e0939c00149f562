"""The decay of single weights in PyTorch, timed in a process of its own (extra `bench`).

    python -m jaxsparse.bench.torch_decay

A line `WORK WAY THREADS STEPS` on its standard input is answered by the seconds of a step. Works: `strengths`, 100
weights that differ in their L2 strength, so each is a parameter group of its own; `alike`, 100 weights of one tensor
and strength; `million`, 1,000,000 weights of one tensor. Ways: `foreach` and `fused`. Gradients are there before the
clock starts.
"""

from __future__ import annotations

import sys
import time

import torch

CURVES = 100
MILLION = 1_000_000


def optimizer(work: str, way: str) -> tuple[torch.optim.Optimizer, list[torch.Tensor]]:
    """Adam with coupled L2, and its weights."""
    if work == "strengths":
        weights = [torch.ones(1) for _ in range(CURVES)]
        strengths = torch.logspace(-5, -1, CURVES).tolist()
    else:
        weights = [torch.ones(CURVES if work == "alike" else MILLION)]
        strengths = [1e-4]
    groups = [{"params": [w], "weight_decay": s} for w, s in zip(weights, strengths, strict=True)]
    return torch.optim.Adam(groups, 1e-3, (0.9, 0.99), **{way: True}), weights


def seconds(work: str, way: str, steps: int) -> float:
    """Wall seconds of a step, without compiling or warming up."""
    tx, weights = optimizer(work, way)
    table = 1e-5 * torch.randn(1 if work == "million" else steps, *(len(weights), weights[0].numel()))
    gradients = [list(row.unbind()) for row in table]

    def run(steps: int) -> None:
        for step in range(steps):
            for weight, gradient in zip(weights, gradients[step % len(gradients)], strict=True):
                weight.grad = gradient
            tx.step()

    run(min(10, steps))
    begun = time.perf_counter()
    run(steps)
    return (time.perf_counter() - begun) / steps


def main() -> None:
    """Serves measurements until its input ends."""
    torch.manual_seed(0)
    for line in sys.stdin:
        work, way, threads, steps = line.split()
        torch.set_num_threads(int(threads))
        print(seconds(work, way, int(steps)), flush=True)


if __name__ == "__main__":
    main()
