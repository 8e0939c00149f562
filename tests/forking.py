"""Processes that have imported everything already, so that hundreds can be started, killed and raced in minutes.

Run as a program, this is the process they are forked from. It has no threads and JAX has no backend in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass
class Child:
    """A process that was forked."""

    server: Forking
    pid: int
    log: Path

    def wait(self, seconds: float = 120.0) -> int:
        """Its exit status, negative for a signal that killed it; it has to end within so many seconds."""
        assert until(self.is_over, seconds), f"does not end: {self.told()}"
        return self.server.ask({"wait": self.pid})

    def told(self) -> str:
        """All that it has written."""
        return self.log.read_text(encoding="utf-8")

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.server.ask({"over": self.pid}) == 1


class Forking:
    """Starts `jaxsparse` commands as forks of a process that has imported it."""

    def __init__(self, folder: Path):
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_COMPILATION_CACHE": "true",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Forking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, request: dict[str, object]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, *flags: str) -> Child:
        """A command, in the folder of its log."""
        self.count += 1
        log = self.folder / f"log-{self.count}"
        return Child(self, self.ask({"start": flags, "log": str(log)}), log)


def _serve() -> None:
    from jaxsparse import cli
    from jaxsparse.report import gallery, page  # what commands import late

    assert gallery
    assert page
    over: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            child = os.fork()
            if child == 0:
                _be(cli, request)
            answer = child
        elif "over" in request:
            pid, status = (request["over"], 0) if request["over"] in over else os.waitpid(request["over"], os.WNOHANG)
            if pid and pid not in over:
                over[pid] = os.waitstatus_to_exitcode(status)
            answer = int(bool(pid))
        else:
            pid = request["wait"]
            answer = over[pid] if pid in over else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(answer, flush=True)


def _be(cli: object, request: dict[str, object]) -> None:
    """The forked process: the command, then the end."""
    with ExitStack() as stack:
        stack.callback(os._exit, 70)
        log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for to, of in ((null, 0), (log, 1), (log, 2)):
            os.dup2(to, of)
        status = cli.main(request["start"])  # pyright: ignore
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def until(condition: object, seconds: float = 120.0) -> bool:
    """Waits for a condition; whether it came."""
    deadline = time.monotonic() + seconds
    while not condition():  # pyright: ignore
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


if __name__ == "__main__":
    _serve()
