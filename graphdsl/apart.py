"""Models run in a process of their own, which may die or take too long without harm to this one.

A worker is two processes: a keeper, which has loaded ONNX Runtime and runs nothing, and its fork, which runs what it is
sent. Where the fork dies, the keeper tells so and forks again, which takes milliseconds. Both end when the pipe that
they read from is closed, as it is when this process ends, however it does.
"""

import atexit
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_SESSIONS = 512
"""The sessions that a worker keeps, those used last."""


@dataclass(frozen=True)
class Refusal:
    """A model was refused, or running it failed, in an orderly way: with a message."""

    message: str
    loaded: bool = False
    """Whether it was loaded, so that what is refused is the input."""

    def __str__(self) -> str:
        return f"{'failed' if self.loaded else 'refused'}: {self.message}"


@dataclass(frozen=True)
class Crash:
    """The process that ran a model died, or was ended because it took too long."""

    reason: str
    """The signal (`"SIGFPE"`), the exit code, or `"more than 10 s"`."""

    def __str__(self) -> str:
        return f"crashed: {self.reason}"


@dataclass(frozen=True)
class Limits:
    """What a run may take."""

    seconds: float = 20.0
    memory: int = 4 << 30
    """Bytes of address space, beyond those that an idle worker has."""


@dataclass(frozen=True)
class Job:
    """A model to run: its bytes, a digest that stands for them and the options, and options of the session."""

    digest: bytes
    proto: bytes
    options: tuple[tuple[str, Any], ...] = ()


class Worker:
    """A process apart that runs models on ONNX Runtime, one at a time."""

    def __init__(self, memory: int) -> None:
        if not hasattr(os, "fork"):
            raise NotImplementedError("running apart needs a system that has fork")
        self.memory = memory
        self._known: set[bytes] = set()
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self._requests = Connection(ours_out, readable=False)
        self._replies = Connection(ours_in, writable=False)
        code = f"from graphdsl.apart import keep; keep({theirs_in}, {theirs_out}, {memory})"
        package = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=(theirs_in, theirs_out),
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._fork = self._begun()

    def run(self, job: Job, feeds: Mapping[str, Any], seconds: float) -> "list[Any] | Refusal | Crash":
        """The outputs of a model in order, or why there are none."""
        try:
            proto = None if job.digest in self._known else job.proto
            reply = self._ask((job.digest, proto, job.options, feeds), seconds)
            if reply == "forgotten":
                reply = self._ask((job.digest, job.proto, job.options, feeds), seconds)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self.close()
            return Crash(f"the worker is gone: {type(error).__name__}")
        if not isinstance(reply, Crash):
            self._known.add(job.digest)
        found: list[Any] | Refusal | Crash = reply
        return found

    def _ask(self, request: Any, seconds: float) -> Any:
        # pickled with the protocol that does not copy arrays twice
        self._requests.send_bytes(pickle.dumps(request, protocol=5))
        ready, _, _ = select.select([self._replies], [], [], seconds)
        if not ready:
            os.kill(self._fork, signal.SIGKILL)
        kind, value = self._receive()
        while not ready and kind != "died":  # an answer that came too late would be taken for the next one
            kind, value = self._receive()
        if kind != "died":
            return value
        self._known.clear()
        self._fork = self._begun()
        if not ready:
            return Crash(f"more than {seconds:g} s")
        return Crash(signal.Signals(-value).name if value < 0 else f"exit code {value}")

    def _receive(self) -> Any:
        return pickle.loads(self._replies.recv_bytes())

    def _begun(self) -> int:
        """The process that a keeper has forked."""
        kind, value = self._receive()
        assert kind == "begun"
        return int(value)

    @property
    def alive(self) -> bool:
        """Whether it can be sent anything."""
        return not self._requests.closed and self._keeper.poll() is None

    def close(self) -> None:
        """End both processes."""
        for end in (self._requests, self._replies):
            if not end.closed:
                end.close()
        self._keeper.kill()
        self._keeper.wait()


class Pool:
    """Workers that wait for work; as many as threads ask at a time."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._process = os.getpid()

    def run(self, job: Job, feeds: Mapping[str, Any], limits: Limits) -> "list[Any] | Refusal | Crash":
        """The outputs of a model in order, or why there are none."""
        worker = self._take(limits.memory)
        try:
            found = worker.run(job, feeds, limits.seconds)
        except BaseException:  # an answer may be on its way, which the next run would take for its own
            worker.close()
            raise
        self._give_back(worker)
        return found

    def _take(self, memory: int) -> Worker:
        with self._lock:
            if self._process != os.getpid():  # the workers are those of the process that this one was forked from
                self._idle, self._process = [], os.getpid()
            for worker in self._idle:
                if worker.memory == memory and worker.alive:
                    self._idle.remove(worker)
                    return worker
        return Worker(memory)

    def close(self) -> None:
        """End the workers that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle if self._process == os.getpid() else ():
            worker.close()

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if worker.alive:
                self._idle.append(worker)


POOL = Pool()
"""The workers of this process."""

atexit.register(POOL.close)


# The other side


def keep(requests: int, replies: int, memory: int) -> None:
    """Fork, again and again, a process that serves; the keeper's part, called in a new interpreter."""
    import onnxruntime

    from . import runtime  # noqa: F401  # so that forks have it

    onnxruntime.set_default_logger_severity(4)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the process that asks decides
    answers = Connection(replies, readable=False)
    while True:
        fork = os.fork()
        if not fork:
            _limit(memory)
            _tell(answers, "begun", os.getpid())
            try:
                _serve(Connection(requests, writable=False), answers)
            finally:
                os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        if not code:
            return
        try:
            _tell(answers, "died", code)
        except OSError:
            return


def _tell(answers: Connection, kind: str, value: Any) -> None:
    answers.send_bytes(pickle.dumps((kind, value), protocol=5))


def _limit(memory: int) -> None:
    """Bound the address space of this process to what it has and so many bytes more."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    most = pages * resource.getpagesize() + memory
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(requests: Connection, answers: Connection) -> None:
    """Run what comes until the pipe is closed."""
    sessions: OrderedDict[bytes, Any] = OrderedDict()
    while True:
        try:
            request = requests.recv_bytes()
        except EOFError:
            return
        digest, proto, options, feeds = pickle.loads(request)
        _tell(answers, "answer", _answer(sessions, digest, proto, options, feeds))


_NO_MEMORY = ("bad_alloc", "Failed to allocate memory")
"""What ONNX Runtime says where its arena cannot grow."""


def _answer(
    sessions: "OrderedDict[bytes, Any]",
    digest: bytes,
    proto: bytes | None,
    options: Sequence[tuple[str, Any]],
    feeds: Mapping[str, Any],
) -> Any:
    from .runtime import received, session_of

    session = sessions.get(digest)
    if session is None:
        if proto is None:
            return "forgotten"
        try:
            session = session_of(proto, dict(options))
        except Exception as error:
            return Refusal(str(error))
        sessions[digest] = session
        if len(sessions) > _SESSIONS:
            sessions.popitem(last=False)
    sessions.move_to_end(digest)
    try:
        found = session.run(feeds)
        return [received(value) for value in found] if session.foreign else list(found)
    except Exception as error:
        if any(words in str(error) for words in _NO_MEMORY):
            del sessions[digest]  # its arena would ask for as much again, however little is needed
        return Refusal(str(error), loaded=True)
