"""Models that are wrong: real ones with bytes or fields changed, through everything that reads a model.

    python tests/fuzzing.py                   # ten thousand
    python tests/fuzzing.py --count 100 --start 7000 --processes 2

Each is loaded, printed, typed, checked, converted, compared, written as source, saved and loaded again, in a worker
process with bounds on time and memory. Only a `GraphError` may come out; another exception, a crash, a hang, a saved
model that does not load and a source that makes another model are findings. A number makes the same model every time.
"""

import argparse
import itertools
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnx
from backend import FOLDER, node_cases
from equality import unequal
from sources import rebuilt
from workers import Crash, each

import graphdsl as gd
from graphdsl import schemas

SECONDS = 20
"""How long all steps on one model may take, of processor time."""

MEMORY = 3 << 30
"""How many bytes of address space a worker may take more than it has at the start."""


@lru_cache(1)
def seeds() -> list[bytes]:
    """Small real models of every kind: bodies, functions, sequences, strings, sparse tensors, old opsets."""
    paths = sorted(FOLDER.glob("simple/*/model.onnx")) + sorted(FOLDER.glob("pytorch-*/*/model.onnx"))[::10]
    stored = [path.read_bytes() for path in [*paths, *sorted((FOLDER / "light").glob("*.onnx"))[:2]]]
    kinds = ("Loop", "If", "Scan", "SequenceMap", "Constant")
    models = [case.model for case in node_cases()]
    models = models[::6] + [model for model in models if any(node.op_type in kinds for node in model.graph.node)]
    return [raw for raw in [*stored, *(model.SerializeToString() for model in models)] if len(raw) < 200_000]


_INTEGERS = (-1, 0, 1, 2, 7, 16, 127, 255, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))
_TEXTS = (
    "",
    "x",
    "y",
    "a/../b",
    "\0",
    "é",
    "Loop",
    "If",
    "ai.onnx",
    "com.microsoft",
    "n + 1",
    "((n",
    "n//0",
    "-1",
    "x" * 999,
)


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """The bytes of a model with a few changes."""
    if rng.random() < 0.4:
        return _other_bytes(bytearray(raw), rng)
    model = onnx.ModelProto.FromString(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _change(model, rng)
    try:
        return model.SerializeToString()
    except Exception:
        return raw


def _other_bytes(raw: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not raw:
            break
        place = rng.randrange(len(raw))
        match rng.randrange(5):
            case 0:
                raw[place] = rng.randrange(256)
            case 1:
                raw[place] ^= 1 << rng.randrange(8)
            case 2:
                del raw[place : place + rng.randrange(1, 20)]
            case 3:
                raw[place:place] = raw[place : place + rng.randrange(1, 40)]
            case 4:
                del raw[place:]
    return bytes(raw)


def _messages(message: Any) -> Iterator[Any]:
    """A message and all inside it."""
    stack = [message]
    while stack:
        current = stack.pop()
        yield current
        for field, value in current.ListFields():
            if field.message_type is not None:
                stack.extend([value] if hasattr(value, "ListFields") else value)


def _change(model: onnx.ModelProto, rng: random.Random) -> None:
    """Change one field somewhere."""
    message = rng.choice(list(itertools.islice(_messages(model), 3000)))
    fields = message.DESCRIPTOR.fields if rng.random() < 0.3 else [field for field, _ in message.ListFields()]
    if not fields:
        return
    field = rng.choice(list(fields))
    value = getattr(message, field.name)
    try:
        if field.message_type is None and not hasattr(value, "append"):
            setattr(message, field.name, _scalar(field, rng, message))
        elif field.message_type is None:
            _change_list(value, field, rng, message)
        elif hasattr(value, "ListFields"):
            rng.choice([lambda: message.ClearField(field.name), value.SetInParent])()
        elif len(value):
            place = rng.randrange(len(value))
            match rng.randrange(4):
                case 0:
                    del value[place]
                case 1:
                    value.add().CopyFrom(value[place])
                case 2:
                    value[place].CopyFrom(value[rng.randrange(len(value))])
                case 3:
                    value[place].Clear()
        else:
            value.add()
    except (TypeError, ValueError):
        pass  # not a value of the field


def _scalar(field: Any, rng: random.Random, message: Any) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        others = [v for f, v in message.ListFields() if isinstance(v, type(getattr(message, field.name)))]
        text = rng.choice([*_TEXTS, *others])
        return text.encode() if field.type == field.TYPE_BYTES and isinstance(text, str) else text
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    return rng.choice(_INTEGERS)


def _change_list(value: Any, field: Any, rng: random.Random, message: Any) -> None:
    if len(value) and rng.random() < 0.7:
        place = rng.randrange(len(value))
        if rng.random() < 0.4:
            del value[place]
        else:
            value[place] = value[rng.randrange(len(value))] if rng.random() < 0.4 else _scalar(field, rng, message)
    else:
        value.append(_scalar(field, rng, message))


def steps(model: gd.Model, folder: str) -> Iterator[Callable[[], Any]]:
    """What is done with a model that loads."""
    yield lambda: (str(model), repr(model))
    yield lambda: [tensor.type for tensor in model.outputs]
    yield lambda: gd.check(model)
    yield lambda: gd.weights_of(model)
    yield lambda: gd.convert_opset(model, 21)
    yield lambda: gd.inline(model)
    yield lambda: gd.rename(model, {tensor.name: f"{tensor.name}_" for tensor in model.inputs if tensor.name})
    yield lambda: str(gd.diff(model, model))
    yield lambda: _written(model)
    yield lambda: _saved(model, folder)


def _written(model: gd.Model) -> None:
    """The source of a model makes it, if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        gd.to_source(model, Path(folder) / "source.py")  # which may refuse it
    known = dict(schemas._declared)
    try:
        found = unequal(model, rebuilt(model))
    except gd.GraphError as error:
        raise AssertionError("the source does not run") from error
    finally:  # what it declares must not be known to other models
        schemas._declared.clear()
        schemas._declared.update(known)
    assert not found, f"the source makes another model: {found[:3]}"


def _saved(model: gd.Model, folder: str) -> None:
    path = Path(folder) / "m.onnx"
    model.save(path)
    try:
        gd.load(path)
    except gd.GraphError as error:
        raise AssertionError("what is saved does not load") from error


class _Slow(BaseException):
    """A model takes too long."""


def _too_slow(*_: object) -> None:
    raise _Slow


def attempt(raw: bytes) -> str:
    """What came of a model: "loaded", "refused", or what was found."""
    signal.signal(signal.SIGVTALRM, _too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, -1))
    outcome = "loaded"
    try:
        with tempfile.TemporaryDirectory() as folder:
            try:
                model = gd.load(raw)
            except gd.GraphError:
                return "refused"
            for step in steps(model, folder):
                try:
                    step()
                except gd.GraphError:
                    outcome = "loaded, a step refused"
    except _Slow:
        return "FOUND: takes too long:\n" + traceback.format_exc(limit=-6)
    except BaseException:
        return "FOUND: " + traceback.format_exc(limit=-8)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return outcome


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def fuzz_one(raw: bytes) -> str:
    """What came of one model, tried in a process of its own."""
    ((_, result),) = each(attempt, [raw], 1)
    return f"FOUND: the process died: {result.reason}" if isinstance(result, Crash) else str(result)


def fuzz(numbers: range, processes: int = 1) -> tuple[Counter[str], dict[int, str]]:
    """How often each thing came of the models of these numbers, and what was found, by number."""
    known = seeds()

    def task(number: int) -> str:
        rng = random.Random(number)
        return attempt(mutated(rng.choice(known), rng))

    outcomes: Counter[str] = Counter()
    found: dict[int, str] = {}
    for place, result in each(task, numbers, processes):
        text = f"FOUND: the process died: {result.reason}" if isinstance(result, Crash) else result
        outcomes[text.split("\n")[0] if text.startswith("FOUND") else text] += 1
        if text.startswith("FOUND"):
            found[numbers[place]] = text
    return outcomes, found


def main() -> int:
    """Try many, and print what was found."""
    parser = argparse.ArgumentParser(description="Mutate real models and read them.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    outcomes, found = fuzz(range(options.start, options.start + options.count), options.processes)
    for number, text in sorted(found.items()):
        print(f"--- {number}\n{text}")
    print(dict(outcomes))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
