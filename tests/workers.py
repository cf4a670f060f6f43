"""Work done in worker processes, so that one that dies is a finding and not the end of the run."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

_FORK = multiprocessing.get_context("fork")


class Crash(NamedTuple):
    """What came of an item on which the worker process died."""

    reason: str


class _Worker:
    """A process that works through items one by one, in order of their places."""

    def __init__(self, task: Callable[[Any], Any], items: Sequence[Any], places: Sequence[int]) -> None:
        self.task, self.items, self.left = task, items, list(places)
        self.results, sender = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_work, args=(task, items, self.left, sender), daemon=True)
        self.process.start()
        sender.close()

    def take(self) -> tuple[int, Any]:
        """The next result; a `Crash` where the process has died on its item."""
        place = self.left.pop(0)
        try:
            return place, self.results.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode or 0
            return place, Crash(signal.Signals(-code).name if code < 0 else f"exit code {code}")


_kept: list[Any] = []


def _work(task: Callable[[Any], Any], items: Sequence[Any], places: Sequence[int], results: Connection) -> None:
    _kept.extend(gc.get_objects())  # to close a session of the other process would be to wait for threads left there
    for place in places:
        results.send(task(items[place]))


def each(task: Callable[[Any], Any], items: Sequence[Any], processes: int = 0) -> Iterator[tuple[int, Any]]:
    """The place and result of each item, as they come; the result is a `Crash` where the worker died on it.

    The workers are forks of this process: they see the items without being sent them.
    """
    count = min(processes or os.cpu_count() or 1, len(items))
    workers = [_Worker(task, items, range(start, len(items), count)) for start in range(count)]
    while workers:
        ready = wait([worker.results for worker in workers])
        for worker in [worker for worker in workers if worker.results in ready]:
            place, result = worker.take()
            yield place, result
            if isinstance(result, Crash) or not worker.left:
                workers.remove(worker)
                worker.process.join()
                if worker.left:
                    workers.append(_Worker(task, items, worker.left))
