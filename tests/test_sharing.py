"""Work that several threads share."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxsparse.grid.sharing import Shared, told_by


class Endless:
    """A worker that tells for ever, and what it has told."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self) -> Iterator[int]:
        while True:
            time.sleep(0.01)
            self.told += 1
            yield self.told

    def has_ended(self) -> bool:
        told = self.told
        time.sleep(0.1)
        return self.told == told


def test_everything_is_taken_once() -> None:
    def slowly() -> Iterator[int]:
        for number in range(200):
            time.sleep(0.0001)  # a plain generator would be entered twice, and raise
            yield number

    units = Shared(slowly())
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: list(units), range(4)))
    assert sorted(itertools.chain(*taken)) == list(range(200))
    assert all(own == sorted(own) for own in taken)
    assert sum(map(bool, taken)) > 1


def test_workers_tell_side_by_side() -> None:
    met = threading.Barrier(2, timeout=20)

    def worker(name: str) -> Iterator[str]:
        for number in range(3):
            met.wait()  # alone, a worker would never get past this
            yield f"{name}{number}"

    told = list(told_by([lambda: worker("a"), lambda: worker("b")]))
    assert sorted(told) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert [one for one in told if one[0] == "a"] == ["a0", "a1", "a2"]


def test_what_a_worker_raises_ends_the_others() -> None:
    endless = Endless()

    def failing() -> Iterator[int]:
        yield 2
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        list(told_by([endless, failing]))
    assert endless.has_ended()


def test_who_wants_no_more_waits_for_one_more_at_most() -> None:
    both = Endless(), Endless()
    told = told_by(both)
    next(told)
    told.close()
    assert all(one.has_ended() for one in both)
