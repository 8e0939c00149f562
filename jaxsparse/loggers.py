"""Loggers for `js.Monitor(.., to=[..])` and `--log`: functions of a step and of numbers by name.

Any function will do: `to=[lambda step, numbers: print(step, numbers["dead/scale"])]`, or `wandb.log`'s like. These are
thin adapters; what they stand on is imported when one is made, and none is a dependency.
"""

from __future__ import annotations

import atexit
import importlib
import io
from collections.abc import Callable, Mapping
from csv import DictReader, DictWriter
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxsparse.checks import InvalidInput, require, require_choice
from jaxsparse.files import write_text

Log = Callable[[int, Mapping[str, float]], None]
"""Takes the steps done, and numbers by name."""


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InvalidInput(f"log must be of something installed: pip install {name}") from None


def tensorboard(folder: str | Path) -> Log:
    """Scalars for TensorBoard in a folder, by tensorboardX.

    Raises:
      InvalidInput: where it is not installed.

    Example:
      Then `tensorboard --logdir runs` draws it.

      >>> from pathlib import Path
      >>> import jaxsparse as js
      >>> log = js.loggers.tensorboard("runs/mine")
      >>> log(200, {"dead/scale": 12.5})
      >>> [file.name for file in Path("runs/mine").iterdir()]
      ['events.out.tfevents...']
    """
    writer = _module("tensorboardX").SummaryWriter(str(folder), flush_secs=1)
    atexit.register(writer.close)  # a thread of its own writes, and would be cut off

    def log(step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    return log


def wandb(**settings: Any) -> Log:
    """A run of Weights & Biases, made with `wandb.init(**settings)`.

    Raises:
      InvalidInput: where it is not installed.

    Example:
      >>> import jaxsparse as js
      >>> log = js.loggers.wandb(project="sparsity", name="adam-l2")  # doctest: +SKIP
      >>> log(200, {"dead/scale": 12.5})  # doctest: +SKIP
    """
    run = _module("wandb").init(**settings)
    return lambda step, numbers: run.log(dict(numbers), step=step)


def mlflow(**settings: Any) -> Log:
    """A run of MLflow, made with `MlflowClient().create_run(**settings)`, so that several can be open at once.

    Args:
      settings: `experiment_id`, `run_name`, `tags`; the default experiment where not given.

    Raises:
      InvalidInput: where it is not installed.

    Example:
      >>> import jaxsparse as js
      >>> log = js.loggers.mlflow(run_name="adam-l2", tags={"data": "digits"})  # doctest: +SKIP
      >>> log(200, {"dead/scale": 12.5})  # doctest: +SKIP
    """
    client = _module("mlflow").MlflowClient()
    run = client.create_run(**{"experiment_id": "0", **settings}).info.run_id

    def log(step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            client.log_metric(run, name, value, step=step)

    return log


def csv(path: str | Path) -> Log:
    """A CSV file with a line for every step and a column for every number; there whole at every moment. Lines are added
    to a file that is there already.

    Raises:
      InvalidInput: for a path that does not end in `.csv`.

    Example:
      >>> from pathlib import Path
      >>> import jaxsparse as js
      >>> log = js.loggers.csv("runs/mine.csv")
      >>> log(0, {"dead/scale": 0.0})
      >>> log(200, {"dead/scale": 12.5, "loss": 0.3})
      >>> print(Path("runs/mine.csv").read_text(), end="")
      step,dead/scale,loss
      0,0.0,
      200,12.5,0.3
    """
    path, rows = Path(path), list[dict[str, Any]]()
    require(path.suffix == ".csv", "log", str(path), "a file that ends in .csv")
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows += DictReader(file)

    def log(step: int, numbers: Mapping[str, float]) -> None:
        rows.append({"step": step, **numbers})
        text = io.StringIO()
        writer = DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text.getvalue())

    return log


BY_NAME: Mapping[str, Callable[[Path, str], Log]] = {
    "tensorboard": lambda folder, cell: tensorboard(folder / "tensorboard" / cell),
    "wandb": lambda folder, cell: wandb(name=cell, group=folder.name, dir=str(folder), reinit="create_new"),
    "mlflow": lambda folder, cell: mlflow(run_name=f"{folder.name} {cell}"),
    "csv": lambda folder, cell: csv(folder / "log" / f"{cell}.csv"),
}
"""For `--log`: from the folder of a grid and the name of a training to its logger."""


def of_cells(names: tuple[str, ...], folder: Path) -> Callable[[str], Log]:
    """Loggers of trainings by their names, each made when it is first needed.

    Raises:
      InvalidInput: for an unknown name, or one of something that is not installed.
    """
    for name in names:
        require_choice("log", name, tuple(BY_NAME))
        if name != "csv":
            _module({"tensorboard": "tensorboardX"}.get(name, name))
    made: dict[str, list[Log]] = {}

    def logger(cell: str) -> Log:
        logs = made.setdefault(cell, [])
        if not logs:
            logs += [BY_NAME[name](folder, cell) for name in names]

        def log(step: int, numbers: Mapping[str, float]) -> None:
            for each in logs:
                each(step, numbers)

        return log

    return logger
