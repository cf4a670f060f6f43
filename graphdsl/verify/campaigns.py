"""`verify.campaign`: operators × dtypes × opsets, and random models, run by several witnesses that should agree.

The work is cut into tasks, each a small search of its own with a seed of its own, which any executor may run. What a
task found is one line of a file, so that a campaign that was broken off goes on where it stopped.
"""

import json
import multiprocessing
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, as_completed, wait
from dataclasses import asdict
from os import SEEK_END, PathLike, cpu_count
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import seed as seeded
from hypothesis import strategies as st

from ..apart import Crash, Refusal
from ..errors import FeedError, GraphError, SignatureError, nearest
from ..ir import ModelData, Node
from ..loading import Source, load
from ..models import Model
from ..schemas import known_opset, lookup
from ..sites import at, caller
from ..source import to_source
from ..types import DType, TensorType, as_dtype, bool, float32, int8, int64, uint8
from ..walk import graphs
from .comparing import Difference, Runs
from .drafts import BY_SIMPLICITY, dtypes_of
from .draws import quietly
from .inputs import feeds
from .known import FAULTS as FAULTS
from .known import known as known_fault
from .origins import origins
from .programs import models
from .recipes import RECIPES
from .results import AGREE, CRASH, DIFFER, KNOWN, NOT_RUN, Campaign, Result, Task
from .verdicts import shown, written
from .witnesses import WITNESSES, Outcome, run

RANDOM = "random models"
"""What stands for the operator in tasks of whole models."""

USUAL = ("onnxruntime", "unoptimised", "reference", "numpy", "torch")
"""The witnesses of a campaign, unless others are named: those that do not run a model are passed over."""

_AHEAD = 256
"""How many tasks an executor is given before it has done any."""

_COMPANIONS = (float32, int64, int8, uint8, bool)
"""The dtypes that other inputs may have, where an operator takes several."""


def campaign(
    operators: Iterable[str] | None = None,
    *,
    dtypes: Iterable[Any] | None = None,
    opsets: Iterable[int] = (21,),
    witnesses: Sequence[str] = USUAL,
    examples: int = 30,
    random: int = 0,
    seed: int = 0,
    seconds: float = 20.0,
    executor: Executor | None = None,
    processes: int = 0,
    path: str | PathLike[str] | None = None,
    progress: Any = None,
) -> Campaign:
    """Run operators, and random models, by several witnesses, and report where these differ.

    >>> from graphdsl import verify
    >>> found = verify.campaign(["Sign"], dtypes=["float32"], examples=5, executor=verify.InProcess())
    >>> print(found)
    operator  agree  known  differ  crash  not run
    Sign      1
    1 in all  1      0      0       0      0

    Args:
        operators: The operators; by default all of `verify.OPERATORS` that are no branches or loops.
        dtypes: The dtypes; by default all that the schema of an operator allows.
        opsets: The opsets; operators that do not exist at one are left out there.
        witnesses: Who runs the models, of `verify.WITNESSES`; each is compared with the first that runs one.
        examples: How many models with feeds are tried for each operator, dtype and opset.
        random: How many tasks of whole random models there are besides, for each opset.
        seed: What all draws follow from.
        seconds: What one run may take before it counts as a crash.
        executor: Who runs the tasks: any `concurrent.futures.Executor`. By default a pool of processes; Dask's is
            `client.get_executor()`, and `verify.InProcess()` is this process.
        processes: How many processes there are in that pool; 0 for one for each core.
        path: A file of results, one in a line. Tasks that have a result there are not run again.
        progress: Called with each result as it comes, and the number of tasks in all.

    Raises:
        SignatureError: there is no such operator or witness, or nothing to run.
        OpsetError: there is no such opset.
        MissingRuntime: a witness is not installed.
    """
    for name in witnesses:
        if name not in WITNESSES:
            raise SignatureError(f"there is no witness {name!r}{nearest(name, WITNESSES)}" + at(caller()))
    chosen = tuple(RECIPES if operators is None else operators)
    for name in chosen:
        if name not in RECIPES:
            raise SignatureError(f"no campaign tries {name!r}{nearest(name, RECIPES)}" + at(caller()))
    known = None if dtypes is None else tuple(map(as_dtype, dtypes))
    versions = tuple(map(known_opset, opsets))
    tasks = list(_tasks(chosen, known, versions, tuple(witnesses), examples, random, seed, seconds))
    if not tasks:
        wanted = ", ".join(dtype.name for dtype in known) if known else "any dtype"
        raise SignatureError(
            f"there is nothing to run: none of the operators has {wanted} at opset "
            + ", ".join(map(str, versions))
            + at(caller())
        )
    done = _read(path)
    results = {task.key: done[task.key] for task in tasks if task.key in done}
    missing = [task for task in tasks if task.key not in results]
    for result in _perform(missing, executor, processes):
        results[result.task.key] = result
        if path is not None:
            _append(Path(path), json.dumps(asdict(result)))
        if progress is not None:
            progress(result, len(tasks))
    return Campaign(results[task.key] for task in tasks)


def _tasks(
    operators: Sequence[str],
    dtypes: Sequence[DType] | None,
    opsets: Sequence[int],
    witnesses: tuple[str, ...],
    examples: int,
    random: int,
    seed: int,
    seconds: float,
) -> Iterator[Task]:
    def task(operator: str, dtype: str, opset: int) -> Task:
        own = zlib.crc32(f"{operator} {dtype} {opset} {seed}".encode())
        return Task(operator, dtype, opset, examples, own, witnesses, seconds)

    for opset in opsets:
        for operator in operators:
            for dtype in _dtypes(operator, opset):
                if dtypes is None or dtype in dtypes:
                    yield task(operator, dtype.name, opset)
        yield from (task(RANDOM, f"{number}", opset) for number in range(random))


def _dtypes(operator: str, opset: int) -> list[DType]:
    """The dtypes that some input or output of an operator may have; none where it does not exist at the opset."""
    try:
        schema = lookup("", operator, opset)
    except GraphError:
        return []
    sides = [dtypes_of(side.types) for side in (*schema.inputs, *schema.outputs)]
    open_ended = [side for side in sides if len(side) > 2] or sides
    return [dtype for dtype in BY_SIMPLICITY if any(dtype in side for side in open_ended)]


def _read(path: str | PathLike[str] | None) -> dict[str, Result]:
    if path is None or not Path(path).exists():
        return {}
    found = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            result = Result.read(line)
        except (ValueError, TypeError, KeyError):  # the line that was being written when the campaign was broken off
            continue
        found[result.task.key] = result
    return found


def _append(path: Path, line: str) -> None:
    """Add a line to a file, after a line that was broken off as after a whole one."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(f"{line}\n".encode())


class InProcess(Executor):
    """An executor that does everything at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Do it now."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def _perform(tasks: Sequence[Task], executor: Executor | None, processes: int = 0) -> Iterator[Result]:
    if not tasks:
        return
    if executor is None:
        # new interpreters: a fork of this one would have the runtime's threads' locks, and none of its threads
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes or cpu_count() or 1, len(tasks)), mp_context=context) as pool:
            yield from _perform(tasks, pool)
        return
    pending: set[Future[Result]] = set()
    for task in tasks:
        pending.add(executor.submit(examine, task))
        done = {future for future in pending if future.done()}
        if len(pending) >= _AHEAD and not done:
            done = wait(pending, return_when=FIRST_COMPLETED).done
        pending -= done
        yield from (future.result() for future in done)
    yield from (future.result() for future in as_completed(pending))


# One task


class Seen(NamedTuple):
    """One model on one input, run by all witnesses."""

    model: ModelData
    feeds: Mapping[str, Any]
    outcomes: Mapping[str, Outcome]


class _Found(Exception):
    """What was looked for, on its way through Hypothesis, which makes it small."""

    def __init__(self, status: str, reason: str, seen: Seen, pair: tuple[str, ...]) -> None:
        self.status, self.reason, self.seen, self.pair = status, reason, seen, pair


def examine(task: Task) -> Result:
    """Do one task; whatever comes of it is a result."""
    try:
        return _result(task, _examples(task))
    except Exception as error:  # one task is not the end of a campaign
        return Result(task, CRASH, reason=f"verifying it failed: {type(error).__name__}: {error}")


def _result(task: Task, examples: st.SearchStrategy[tuple[ModelData, dict[str, Any]]]) -> Result:
    """What a search finds."""
    begin = time.perf_counter()
    counts: Counter[str] = Counter()
    found = _search(examples, task, counts)
    status, reason, repro = AGREE, "", ""
    if found is not None:
        status, reason, repro = found.status, found.reason, _repro(found)
    elif _known_among(counts):
        status = KNOWN
    elif not counts["compared"]:
        status, reason = NOT_RUN, "no two witnesses run it" if counts["tried"] else "no model was made"
    return Result(
        task,
        status,
        examples=counts["compared"],
        ran={name: counts[name] for name in task.witnesses if counts[name]},
        known=_known_among(counts),
        undefined=counts["undefined"],
        seconds=round(time.perf_counter() - begin, 3),
        reason=reason,
        repro=repro,
    )


def _known_among(counts: Counter[str]) -> dict[str, int]:
    return {name.removeprefix(_HEADING): count for name, count in counts.items() if name.startswith(_HEADING)}


def _examples(task: Task) -> st.SearchStrategy[tuple[Model, dict[str, Any]]]:
    """Models with feeds for a task."""
    if task.operator == RANDOM:
        return _with_feeds(models(opsets=[task.opset]))
    dtype = as_dtype(task.dtype)
    schema = lookup("", task.operator, task.opset)
    several = len({p.type_str for p in schema.inputs if len(p.types) > 2}) > 1 or task.operator in ("Cast", "BitCast")
    dtypes = {dtype, *_COMPANIONS} if several else {dtype}
    made = models([task.operator], dtypes=dtypes, opsets=[task.opset], largest=1, outputs=1, runnable=False)
    return _with_feeds(made.filter(lambda model: dtype in _of(model)) if several else made)


def _of(model: ModelData) -> set[DType]:
    """The dtypes that occur in a model."""
    nodes: list[Node] = [node for graph in graphs(model.graph) for node in graph.nodes]
    kinds = [value.type for node in nodes for value in (*node.inputs, *node.outputs) if value is not None]
    return {kind.dtype for kind in kinds if isinstance(kind, TensorType)}


@st.composite
def _with_feeds(draw: st.DrawFn, made: st.SearchStrategy[Model]) -> tuple[Model, dict[str, Any]]:
    model = draw(made)
    return model, draw(feeds(model, without=draw(st.sampled_from(_LEFT_OUT))))


_LEFT_OUT = (("empty", "nan", "infinity", "extreme", "subnormal"), ("empty",), ())
"""Which edges are left out: plain numbers show what is hidden by special ones."""


def _search(
    examples: st.SearchStrategy[tuple[ModelData, dict[str, Any]]], task: Task, counts: Counter[str]
) -> _Found | None:
    """The smallest example on which witnesses differ or crash; None where they agree."""

    def test(example: tuple[ModelData, dict[str, Any]]) -> None:
        model, given = example
        counts["tried"] += 1
        try:
            outcomes = {name: run(model, given, name, seconds=task.seconds) for name in task.witnesses}
        except FeedError:
            return
        seen = Seen(model, given, outcomes)
        for name, outcome in outcomes.items():
            if isinstance(outcome, Crash):
                reason = f"{name} crashed: {outcome.reason}"
                if _is_known(seen, (name,), task, counts):
                    return
                raise _Found(CRASH, reason, seen, (name,))
            counts[name] += not isinstance(outcome, Refusal)
        found = _difference(seen, task, counts)
        if found is not None:
            raise _Found(DIFFER, *found)

    try:
        decorate: Any = given(examples)
        quietly(task.examples)(seeded(task.seed)(decorate(test)))()
    except _Found as found:
        return found
    except Exception as error:  # Hypothesis found no valid example
        if type(error).__module__.startswith("hypothesis"):
            return None
        raise
    return None


def _difference(seen: Seen, task: Task, counts: Counter[str]) -> tuple[str, Seen, tuple[str, str]] | None:
    """What the first two witnesses that differ differ in, and who they are."""
    ran = [name for name, outcome in seen.outcomes.items() if isinstance(outcome, dict)]
    runs = Runs(seen.model, seen.feeds)
    optimised, plain = seen.outcomes.get("onnxruntime"), seen.outcomes.get("unoptimised")
    if isinstance(plain, dict) and isinstance(optimised, Refusal):
        reason = f"only the optimised model is refused: {optimised.message}"
        return reason, seen, ("onnxruntime", "unoptimised")
    counts["compared"] += len(ran) > 1
    for other in ran[1:]:
        first, second = seen.outcomes[ran[0]], seen.outcomes[other]
        found: Difference | None = runs.difference(first, second)
        if found is not None:
            if runs.undefined:
                counts["undefined"] += 1
                return None
            reason, pair = f"{ran[0]} and {other} give {found.reason}", (ran[0], other)
            if not _is_known(seen, pair, task, counts):
                return reason, seen, pair
    return None


def _is_known(seen: Seen, pair: tuple[str, ...], task: Task, counts: Counter[str]) -> Any:
    """Whether all nodes at which witnesses begin to differ show faults that are known; these are counted.

    Where no node does, only roundings have added up, or the runtime has made another model of this one.
    """
    found = origins(seen.model, seen.feeds, pair, task.seconds)
    if not found:
        return found is not None and set(pair) != _OPTIMISING and len(pair) > 1
    headings = [known_fault(origin, pair) for origin in found]
    known = {heading for heading in headings if heading is not None}
    if None in headings:
        return False
    counts.update(_HEADING + heading for heading in known)
    return True


_HEADING = "known: "
_OPTIMISING = {"onnxruntime", "unoptimised"}


def _repro(found: _Found) -> str:
    """A program that shows what was found."""
    lines = [to_source(found.seen.model).rstrip(), "", "", "import numpy as np", "", "from graphdsl import verify", ""]
    lines.append("feeds = {" + ", ".join(f"{name!r}: {written(v)}" for name, v in found.seen.feeds.items()) + "}")
    for name in found.pair:
        outcome = found.seen.outcomes[name]
        given = {key: shown(value) for key, value in outcome.items()} if isinstance(outcome, dict) else outcome
        lines += [f"print(verify.run(model, feeds, {name!r}))", *(f"# {line}" for line in str(given).splitlines())]
    return "\n".join(lines)


def unanimous(
    model: ModelData | Source,
    *,
    witnesses: Sequence[str] = USUAL,
    examples: int = 100,
    seed: int = 0,
    without: Iterable[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> Result:
    """Run a model of yours by several witnesses on many inputs.

    >>> import graphdsl as gd
    >>> from graphdsl import op, verify
    >>> result = verify.unanimous(gd.build(op.Softmax(gd.input("x", gd.float32["n", 3]))), examples=20)
    >>> result.status, result.reason
    ('agree', '')

    Args:
        model: A model, or what `gd.load` takes.
        witnesses: Who runs it; those that do not are passed over.
        examples: How many inputs are tried.
        seed: What all draws follow from.
        without, sizes: As for `verify.feeds`.

    Raises:
        LoadError: the model cannot be read.
    """
    subject = model if isinstance(model, ModelData) else load(model)
    task = Task(subject.graph.name, "", subject.opset_imports.get("", 1), examples, seed, tuple(witnesses))
    drawn = feeds(subject, without=without, sizes=sizes).map(lambda given: (subject, given))
    return _result(task, drawn)
