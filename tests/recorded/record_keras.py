"""Records trajectories of `keras.optimizers` as `keras.npz`, which the tests compare with.

Run, with Keras and PyTorch installed (recorded with keras 3.15.1 on torch 2.13.0+cpu, numpy 2.4.6):

    KERAS_BACKEND=torch python tests/recorded/record_keras.py

The file holds `init [5]`, `gradients [1000, 5]`, one array `[50, 5]` per case (weights after every 20th step), and
`cases`, a JSON list of what each array is, in the package's own terms. After 500 steps the learning rate is halved.
Keras optimizers know no coupled L2 penalty (their `weight_decay` is decoupled), so its gradient is added here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

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
    {"name": "amsgrad", "learning_rate": 0.001},
    {"name": "amsgrad", "learning_rate": 0.001, **L2},
    {"name": "amsgrad", "learning_rate": 0.001, "hyper": {"b1": 0.8, "b2": 0.99, "eps": 1e-4}, **L2},
    {"name": "adamax", "learning_rate": 0.001},
    {"name": "adamax", "learning_rate": 0.001, **L2},
    {"name": "adamax", "learning_rate": 0.001, "hyper": {"b1": 0.8, "b2": 0.99, "eps": 1e-4}, **L2},
    {"name": "rmsprop", "learning_rate": 0.001},
    {"name": "rmsprop", "learning_rate": 0.001, **L2},
    {"name": "rmsprop", "learning_rate": 0.001, "hyper": {"decay": 0.99, "eps": 1e-4}, **L2},
    {"name": "adagrad", "learning_rate": 0.01},
    {"name": "adagrad", "learning_rate": 0.01, **L2},
    {"name": "adagrad", "learning_rate": 0.01, "hyper": {"eps": 1e-4, "initial_accumulator_value": 0.0}, **L2},
    {"name": "adadelta", "learning_rate": 1.0},
    {"name": "adadelta", "learning_rate": 1.0, **L2},
    {"name": "adadelta", "learning_rate": 0.5, "hyper": {"rho": 0.9, "eps": 1e-6}, **L2},
]

CLASSES = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "amsgrad": keras.optimizers.Adam,
    "adamax": keras.optimizers.Adamax,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
}
THEIR_NAMES = {"b1": "beta_1", "b2": "beta_2", "eps": "epsilon", "decay": "rho"}


def optimizer(case: dict[str, Any]) -> keras.optimizers.Optimizer:
    hyper: dict[str, Any] = {
        str(THEIR_NAMES.get(field, field)): value for field, value in case.get("hyper", {}).items()
    }
    if case["name"] == "amsgrad":
        hyper["amsgrad"] = True
    return CLASSES[case["name"]](learning_rate=case["learning_rate"], **hyper)


def record(case: dict[str, Any], init: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    weights = keras.Variable(init, dtype="float64")
    rule = optimizer(case)
    path = []
    for step, gradient in enumerate(gradients):
        rule.learning_rate = case["learning_rate"] * (0.5 if step >= HALVE_AT else 1)
        penalized = gradient + case.get("strength", 0.0) * keras.ops.convert_to_numpy(weights)
        rule.apply([keras.ops.convert_to_tensor(penalized, dtype="float64")], [weights])
        path.append(np.array(keras.ops.convert_to_numpy(weights)))
    return np.stack(path[EVERY - 1 :: EVERY])


def main() -> None:
    keras.config.set_floatx("float64")
    rng = np.random.default_rng(1)
    init = np.array([1.0, -0.5, 2.0, -1.5, 1.0])
    # the fourth weight has tiny gradients, the last has none: there only the regularizer moves it
    gradients = rng.normal(size=(STEPS, 5)) * np.array([1.0, 0.1, 1e-3, 1e-6, 0.0])
    arrays = {str(index): record(case, init, gradients) for index, case in enumerate(CASES)}
    np.savez_compressed(
        Path(__file__).with_name("keras.npz"),
        allow_pickle=False,
        init=init,
        gradients=gradients,
        cases=np.array(json.dumps(CASES)),
        **arrays,
    )


if __name__ == "__main__":
    main()
