"""The command line: what a person typed goes to the file of its command, see `commands`.

Bad input ends in one line that names the field and the allowed values, exit status 2, and nothing written.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import io
import itertools
import os
import shlex
import signal
import sys
from dataclasses import fields, is_dataclass, make_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import tyro

from jaxsparse import stopping
from jaxsparse.checks import InvalidInput
from jaxsparse.commands import COMMANDS

DESCRIPTION = "Sparsity that appears by itself in training."


def _one_line(message: str) -> str:
    """The first paragraph of tyro's error message, which comes in a box under a title."""
    _, *lines = [line.strip(" │╭╮╰╯─-") for line in message.splitlines()]
    first = itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, lines))
    return " ".join(first)


def _located(flags: Any) -> Any:
    """The flags with every path made absolute, once and for all: `~` and the current folder mean the same to whoever
    opens it later."""
    if isinstance(flags, Path):
        return Path(os.path.abspath(flags.expanduser()))
    if not is_dataclass(flags) or isinstance(flags, type):
        return flags
    return replace(flags, **{each.name: _located(getattr(flags, each.name)) for each in fields(flags) if each.init})


def _summary(name: str) -> Any:
    """What stands for a command in the list of all: a dataclass without flags, with the docstring of its own."""
    source = (Path(__file__).parent / "commands" / f"{name}.py").read_text(encoding="utf-8")
    own = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name.title())
    return make_dataclass(own.name, (), namespace={"__doc__": ast.get_docstring(own)})


def _parsed(arguments: list[str]) -> Any:
    """The flags of a command.

    Raises:
      InvalidInput: for a name that is no command, with the one that it resembles.
      SystemExit: 2 with one line on what is wrong with flags, 0 after help.
    """
    if arguments and arguments[0] not in COMMANDS and not arguments[0].startswith("-"):
        like = difflib.get_close_matches(arguments[0], COMMANDS, 1)
        told = f" (did you mean {like[0]}?)" if like else ""
        raise InvalidInput(f"command must be one of {' '.join(COMMANDS)}, got {arguments[0]!r}{told}")
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            if arguments and arguments[0] in COMMANDS:
                flags = getattr(import_module(f"jaxsparse.commands.{arguments[0]}"), arguments[0].title())
                return tyro.cli(flags, prog=f"jaxsparse {arguments[0]}", args=arguments[1:])
            commands = {name: _summary(name) for name in COMMANDS}
            tyro.extras.subcommand_cli_from_dict(commands, prog="jaxsparse", description=DESCRIPTION, args=arguments)
    except SystemExit as stopped:
        if stopped.code:
            print(f"jaxsparse: {_one_line(complaints.getvalue())} (see --help)", file=sys.stderr)
        raise
    raise AssertionError("unreachable: a name that is no command is complained about")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what an encoding lacks is no reason to stop
            stream.reconfigure(errors="replace")
    with stopping.watching():
        try:
            return _run(arguments)
        except KeyboardInterrupt as stop:
            asked = stop if isinstance(stop, stopping.Stopped) else stopping.Stopped(signal.SIGINT)
            print(f"jaxsparse: {asked.message}", file=sys.stderr)
            return asked.status


def _run(arguments: list[str]) -> int:
    trains = False
    try:
        flags = _parsed(arguments)
        trains = arguments[0] in ("grid", "train")
        action = import_module(f"jaxsparse.commands.{arguments[0]}").command
        status = action(_located(flags), shlex.join(["jaxsparse", *arguments]))
        sys.stdout.flush()
        return status
    except SystemExit as stopped:
        return int(stopped.code or 0)
    except InvalidInput as error:
        print(f"jaxsparse: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads has enough: `jaxsparse decay --csv | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not trains:
            return 0
        print("jaxsparse: nobody reads the output; the same command goes on where it was", file=sys.stderr)
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"jaxsparse: {error.filename or 'a file'} can't be used: {error.strerror or error}", file=sys.stderr)
        return 1
