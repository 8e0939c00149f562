"""`jaxsparse data`: what there is to train on, and how published sets get here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxsparse import data
from jaxsparse.checks import require
from jaxsparse.data import folders


@dataclass(frozen=True)
class Data:
    """List the data sets, describe one, or prepare a published one from its archives."""

    action: Annotated[str, tyro.conf.Positional] = "list"
    """list, info or prepare"""
    name: Annotated[str, tyro.conf.Positional] = ""
    """data set to describe or prepare"""
    manual_dir: Path | None = None
    """prepare: folder with archives that you downloaded"""
    data_dir: Path | None = None
    """prepare: folder of the prepared sets [JAXSPARSE_DATA, else the platform's for a user's data]"""
    unverified: bool = False
    """prepare: take archives that are not the official ones, and mark every record that uses them"""


def command(flags: Data, _: str) -> int:
    """The command's action; its exit status."""
    require(flags.action in ("list", "info", "prepare"), "action", flags.action, "list, info or prepare")
    if flags.action == "list":
        width = max(map(len, data.names())) + 2
        for name in data.names():
            print(f"{name:{width}}{data.describe(name).summary}")
    elif flags.action == "info":
        for name, value in asdict(data.describe(flags.name)).items():
            print(f"{name:12}{value}")
        print(f"{'ready':12}{data.is_ready(flags.name)}")
    else:
        root = flags.data_dir or folders.prepared()
        print(data.prepare(flags.name, flags.manual_dir, root, flags.unverified))
        if root != folders.prepared():
            print(f"to train on it: export JAXSPARSE_DATA={root}")
    return 0
