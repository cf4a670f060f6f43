"""Callables on symbolic inputs: what a function returns, as named outputs, and the traces that bodies live in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import BuildError
from .ir import Output
from .sites import at, caller
from .tensor import Tensor
from .tensor.handle import Handle
from .tensor.lifting import adopt, natural_dtype, shared


def as_outputs(returned: Any, what: str) -> tuple[Output, ...]:
    """What a traced callable returned, or `build` was given: a tensor, a sequence of tensors, or a dict by name.

    Raises:
        BuildError: it is nothing of the kind, or empty.
    """
    if isinstance(returned, Mapping):
        for name in returned:
            if not isinstance(name, str) or not name:
                raise BuildError(f"{what}: an output's name is a non-empty str, not {name!r}" + at(caller()))
        outputs = [Output(name, _value(item, what)) for name, item in returned.items()]
    elif isinstance(returned, (tuple, list)):
        outputs = [Output(None, _value(item, what)) for item in returned]
    else:
        outputs = [Output(None, _value(returned, what))]
    if not outputs:
        raise BuildError(f"{what} has no outputs; return a tensor, a tuple of tensors or a dict of them" + at(caller()))
    return tuple(outputs)


def _value(item: Any, what: str) -> Any:
    if isinstance(item, Handle):
        return item._v
    if isinstance(item, (np.ndarray, np.generic)):
        return shared(np.asarray(item), caller())
    if isinstance(item, (bool, int, float)):
        return adopt(item, natural_dtype(item))
    got = "nothing (is a return missing?)" if item is None else f"{item!r} ({type(item).__name__})"
    raise BuildError(f"{what} returns tensors, got {got}" + at(caller()))


def wrap(values: Sequence[Any]) -> Any:
    """Values as what users hold: one tensor, or a tuple of several."""
    tensors = tuple(map(Tensor, values))
    return tensors[0] if len(tensors) == 1 else tensors


Body = Callable[..., Any]
