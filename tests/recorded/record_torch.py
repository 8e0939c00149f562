"""Records trajectories of `torch.optim` as `torch.npz`, which the tests compare with.

Run, with PyTorch installed (recorded with torch 2.13.0+cpu, numpy 2.4.6):

    python tests/recorded/record_torch.py

The file holds `init [5]`, `gradients [1000, 5]`, one array `[50, 5]` per case (weights after every 20th step), and
`cases`, a JSON list of what each array is, in the package's own terms. After 500 steps the learning rate is halved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

STEPS, EVERY, HALVE_AT = 1000, 20, 500

L2 = {"regularizer": "l2", "strength": 0.01}
CASES: list[dict[str, Any]] = [
    {"name": "sgd", "learning_rate": 0.01},
    {"name": "sgd", "learning_rate": 0.01, **L2},
    {"name": "sgd", "learning_rate": 0.01, "hyper": {"momentum": 0.9}, **L2},
    {"name": "sgd", "learning_rate": 0.01, "hyper": {"momentum": 0.8, "nesterov": True}, **L2},
    {"name": "adam", "learning_rate": 0.001},
    {"name": "adam", "learning_rate": 0.001, **L2},
    {"name": "adam", "learning_rate": 0.002, "hyper": {"b1": 0.8, "b2": 0.99, "eps": 1e-4}, **L2},
    {"name": "adam", "learning_rate": 0.001, "regularizer": "wd-lr", "strength": 0.1},
    {"name": "amsgrad", "learning_rate": 0.001},
    {"name": "amsgrad", "learning_rate": 0.001, **L2},
    {"name": "amsgrad", "learning_rate": 0.001, "hyper": {"b1": 0.8, "b2": 0.99, "eps": 1e-4}, **L2},
    {"name": "amsgrad", "learning_rate": 0.001, "regularizer": "wd-lr", "strength": 0.1},
    {"name": "adamax", "learning_rate": 0.001},
    {"name": "adamax", "learning_rate": 0.001, **L2},
    {"name": "adamax", "learning_rate": 0.001, "hyper": {"b1": 0.8, "b2": 0.99, "eps": 1e-4}, **L2},
    {"name": "rmsprop", "learning_rate": 0.001},
    {"name": "rmsprop", "learning_rate": 0.001, **L2},
    {"name": "rmsprop", "learning_rate": 0.001, "hyper": {"decay": 0.9, "eps": 1e-4}, **L2},
    {"name": "adagrad", "learning_rate": 0.01},
    {"name": "adagrad", "learning_rate": 0.01, **L2},
    {"name": "adagrad", "learning_rate": 0.01, "hyper": {"eps": 1e-4, "initial_accumulator_value": 0.1}, **L2},
    {"name": "adadelta", "learning_rate": 1.0},
    {"name": "adadelta", "learning_rate": 1.0, **L2},
    {"name": "adadelta", "learning_rate": 0.5, "hyper": {"rho": 0.95, "eps": 1e-7}, **L2},
]

CLASSES = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "amsgrad": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
}


def optimizer(case: dict[str, Any], weights: torch.Tensor) -> torch.optim.Optimizer:
    hyper = dict(case.get("hyper", {}))
    if "b1" in hyper:
        hyper["betas"] = (hyper.pop("b1"), hyper.pop("b2"))
    if "decay" in hyper:
        hyper["alpha"] = hyper.pop("decay")
    if case["name"] == "amsgrad":
        hyper["amsgrad"] = True
    kind = torch.optim.AdamW if case.get("regularizer") == "wd-lr" else CLASSES[case["name"]]
    return kind([weights], lr=case["learning_rate"], weight_decay=case.get("strength", 0.0), foreach=False, **hyper)


def record(case: dict[str, Any], init: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    weights = torch.tensor(init, dtype=torch.float64, requires_grad=True)
    rule = optimizer(case, weights)
    path = []
    for step, gradient in enumerate(gradients):
        rule.param_groups[0]["lr"] = case["learning_rate"] * (0.5 if step >= HALVE_AT else 1)
        weights.grad = torch.tensor(gradient, dtype=torch.float64)
        rule.step()
        path.append(weights.detach().numpy().copy())
    return np.stack(path[EVERY - 1 :: EVERY])


def main() -> None:
    rng = np.random.default_rng(1)
    init = np.array([1.0, -0.5, 2.0, -1.5, 1.0])
    # the fourth weight has tiny gradients, the last has none: there only the regularizer moves it
    gradients = rng.normal(size=(STEPS, 5)) * np.array([1.0, 0.1, 1e-3, 1e-6, 0.0])
    arrays = {str(index): record(case, init, gradients) for index, case in enumerate(CASES)}
    np.savez_compressed(
        Path(__file__).with_name("torch.npz"),
        allow_pickle=False,
        init=init,
        gradients=gradients,
        cases=np.array(json.dumps(CASES)),
        **arrays,
    )


if __name__ == "__main__":
    main()
