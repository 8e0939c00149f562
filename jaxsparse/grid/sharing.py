"""Work that several threads share, and what they tell of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Unit = TypeVar("Unit")
Told = TypeVar("Told")


class Shared(Iterator[Unit]):
    """An iterator that several threads may take from: each gets what no other got."""

    def __init__(self, units: Iterable[Unit]):
        self._units = iter(units)
        self._lock = threading.Lock()

    def __next__(self) -> Unit:
        with self._lock:
            return next(self._units)


def told_by(workers: Sequence[Callable[[], Iterator[Told]]]) -> Iterator[Told]:
    """What workers tell, each in a thread of its own, as it comes.

    Raises:
      Whatever a worker raises. Then, and where the caller wants no more, the others end with what they tell next.
    """
    told: queue.SimpleQueue[tuple[Told] | BaseException | None] = queue.SimpleQueue()
    enough = threading.Event()

    def work(worker: Callable[[], Iterator[Told]]) -> None:
        try:
            for one in worker():
                told.put((one,))
                if enough.is_set():
                    return
        except BaseException as error:
            told.put(error)
        else:
            told.put(None)

    with ThreadPoolExecutor(len(workers)) as pool:
        for worker in workers:
            pool.submit(work, worker)
        try:
            working = len(workers)
            while working:
                one = told.get()
                if isinstance(one, BaseException):
                    raise one
                if one is None:
                    working -= 1
                else:
                    yield one[0]
        finally:
            enough.set()
