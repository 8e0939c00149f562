"""Signals that ask a command to end: what is at hand is brought to a good end, and the exit status names the signal.

SIGINT (Ctrl-C), SIGTERM and SIGHUP raise `Stopped` in the main thread; threads that train look at `is_asked` after
every interval. What takes longer than `GRACE_SECONDS` is given up: it may be compiling, or in a long step.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 10.0
"""Between the signal and the end of the process, whatever it does; batch systems give 30 and more."""
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_asked = threading.Event()
_ignored = threading.Event()
"""Whether a `Stopped` was raised where Python goes on in spite of exceptions, so that the next one has to be."""


class Stopped(KeyboardInterrupt):
    """A signal asked for the end."""

    def __init__(self, number: int):
        super().__init__(number)
        self.status = 128 + number
        """of the process, as shells have it"""
        self.message = f"stopped by {signal.Signals(number).name}; the same command goes on where it was"


def is_asked() -> bool:
    """Whether this process is to end."""
    return _asked.is_set()


def ask() -> None:
    """Lets threads know that this process is to end, for whatever reason."""
    _asked.set()


def _ask(number: int, frame: FrameType | None) -> None:
    del frame
    if not _asked.is_set() or _ignored.is_set():
        _asked.set()
        _ignored.clear()
        raise Stopped(number)
    if number == signal.SIGINT:  # a person who does not want to wait
        os._exit(128 + number)


def _send_again(number: int) -> None:
    _ignored.set()
    os.kill(os.getpid(), number)


@contextmanager
def _raised_again() -> Iterator[None]:
    """A signal that arrives in a finalizer or while garbage is collected, where Python prints exceptions and goes on,
    is sent once more a moment later."""
    hook, timers = sys.unraisablehook, list[threading.Timer]()

    def look(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, Stopped):
            number = unraisable.exc_value.status - 128
            timers.append(threading.Timer(0.02, _send_again, (number,)))
            timers[-1].start()
        else:
            hook(unraisable)

    sys.unraisablehook = look
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for timer in timers:
            timer.cancel()
        _ignored.clear()


@contextmanager
def watching() -> Iterator[None]:
    """Signals raise `Stopped` within the block; those that whoever started the process has it ignore (`nohup`) do not.
    Only the main thread gets signals: in another one nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        try:
            yield
        finally:
            _asked.clear()
        return
    wanted = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    _asked.clear()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    over = threading.Event()
    handlers = {number: signal.signal(number, _ask) for number in wanted}
    woken = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(reader, over, wanted), name="stopping", daemon=True).start()
    try:
        with _raised_again():
            yield
    finally:
        over.set()
        signal.set_wakeup_fd(woken)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        writer.close()
        _asked.clear()


def _end_in_time(reader: socket.socket, over: threading.Event, wanted: list[int]) -> None:
    """Ends the process where the main thread does not: it only sees a signal once it is back from compiled code."""
    with reader:
        while told := reader.recv(1):
            if told[0] in wanted:
                if not over.wait(GRACE_SECONDS):
                    print(f"jaxsparse: {Stopped(told[0]).message}", file=sys.stderr, flush=True)
                    os._exit(128 + told[0])
                return
