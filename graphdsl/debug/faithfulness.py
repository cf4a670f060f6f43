"""What exporters get wrong without a word: arguments that the model took for constants.

Each tensor argument must arrive at an output if torch's result depends on it, and is varied alone to see whether both
sides follow.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import ExportError, RunError
from ..ir import Input
from ..models import Model
from ..sites import at, caller
from ..types import TensorType
from ..walk import reachable
from .calling import Argument, call_torch, call_with, label_of
from .measures import distance, tolerance

_SEED = 20_240_229


def feeds_for(model: Model, arguments: Sequence[Argument]) -> dict[str, Any]:
    """The arguments of a torch call by the names of a model's inputs: by name, or else in order.

    Raises:
        ExportError: the model has other inputs, or fewer, and the names do not tell which.
    """
    inputs = [value for value in model.graph.inputs if value.default is None]
    names = [value.name or "" for value in inputs]
    by_name = {argument.name: argument.value for argument in arguments}
    if all(name in by_name for name in names):
        return {name: by_name[name] for name in names}
    tensors = [argument for argument in arguments if argument.is_tensor]
    for given in (tensors, arguments):
        if len(inputs) == len(given):
            return {name: argument.value for name, argument in zip(names, given, strict=True)}
    fitting = [[item for item in tensors if _fits(item.value, value)] for value in inputs]
    if len(inputs) < len(tensors) and all(len(found) == 1 for found in fitting):
        return {name: found[0].value for name, found in zip(names, fitting, strict=True)}
    called = [argument.name for argument in tensors]
    raise ExportError(
        f"the model has {_count(len(inputs), 'input')} ({', '.join(map(repr, names))}), and torch is called with "
        f"{_count(len(tensors), 'tensor')} ({', '.join(called)}); an exporter may have dropped some. "
        f"Export with input_names={called!r}" + at(caller())
    )


def _fits(array: np.ndarray, value: Input) -> bool:
    kind = value.type
    return (
        isinstance(kind, TensorType)
        and kind.dtype.numpy == array.dtype
        and (kind.shape is None or len(kind.shape) == array.ndim)
        and all(not isinstance(d, int) or d == n for d, n in zip(kind.shape or (), array.shape, strict=False))
    )


def unfaithful(
    module: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    arguments: Sequence[Argument],
    model: Model,
    *,
    vary: bool = True,
    branches: bool = False,
) -> list[str]:
    """What is wrong with the way from the arguments to the outputs: a sentence for each argument.

    Without `vary`, only arguments that reach no output are looked at. With `branches`, the exporter took a tensor for a
    Python truth value, so floats are tried with the other sign too, which decides many a branch.
    """
    feeds = feeds_for(model, arguments)
    names = {id(value): name for name, value in feeds.items()}
    read = {value.name for value in reachable([value for _, value in model.graph.outputs])[1]}
    if not vary and all(names.get(id(argument.value)) in read for argument in arguments if argument.is_tensor):
        return []
    expected = call_torch(module, args, kwargs)
    if expected is None:
        return []
    got = []
    if vary:
        with suppress(RunError):  # a dtype that the runtime has no kernels for, or operators of others
            got = list(model.run(feeds).values())
    exact = bool(got) and len(got) == len(expected) and all(_agree(a, b) for a, b in zip(got, expected, strict=True))
    problems = []
    for index, argument in enumerate([argument for argument in arguments if argument.is_tensor]):
        name = names.get(id(argument.value))
        varied = _varied(argument.value)
        moved = None if varied is None else call_with(module, args, kwargs, index, varied)
        if moved is None or len(moved) != len(expected):
            continue  # there are no other values that torch takes
        follows = any(not np.array_equal(a, b, equal_nan=_floating(a)) for a, b in zip(moved, expected, strict=True))
        label = f"argument {argument.name!r} of {label_of(module)}"
        if name is None or name not in read:
            if follows:
                what = "is not an input of the model" if name is None else "reaches no output of the model"
                problems.append(
                    f"{label} {what}, though torch's result depends on it: its value was baked in. "
                    f"Keep it a tensor (.item(), int() and float() freeze it), or pass it as a Python number"
                )
            continue
        if exact:
            off = _worst(model, {**feeds, name: varied}, moved)
            if not off and branches and varied is not None and _floating(varied):
                moved = call_with(module, args, kwargs, index, -varied)
                off = _worst(model, {**feeds, name: -varied}, moved) if moved and len(moved) == len(expected) else 0.0
            if off:
                problems.append(
                    f"{label} is partly baked into the model: on the example the outputs agree with torch's, with this "
                    f"argument varied they are off by {off:.2g}. Look for .item(), int(), float() or an if on it"
                )
    return problems


def _worst(model: Model, feeds: Mapping[str, Any], expected: Sequence[np.ndarray]) -> float:
    """The largest relative distance of the model's outputs from what was expected; 0 where all agree."""
    try:
        found = model.run(feeds).values()
    except RunError:  # where torch does not fail
        return math.inf
    return max((distance(a, b).relative for a, b in zip(found, expected, strict=True) if not _agree(a, b)), default=0.0)


def _varied(array: np.ndarray) -> np.ndarray | None:
    """Other values of the kind that an array holds: shuffled, and floats scaled a little."""
    generator = np.random.default_rng(_SEED)
    shuffled = generator.permutation(array.reshape(-1)).reshape(array.shape)
    if array.dtype.kind in "fcV":
        shuffled = (shuffled.astype(np.float64 if array.dtype.kind != "c" else np.complex128) * 0.83).astype(
            array.dtype
        )
    elif array.dtype.kind in "iu" and array.size and array.min() == array.max() and array.max() > 0:
        shuffled = array - array.dtype.type(1)
    return None if np.array_equal(shuffled, array, equal_nan=_floating(array)) else shuffled


def _agree(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.dtype == expected.dtype and distance(got, expected).relative <= 30 * tolerance(expected.dtype)


def _floating(array: np.ndarray) -> bool:
    return array.dtype.kind in "fc"


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
