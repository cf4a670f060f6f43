"""The weights of a model by name: listed, and replaced from a mapping such as a state dict."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from .emission import Emitter
from .errors import WeightError, nearest
from .ir import Constant, Input, ModelData, Value
from .loading import Source, opened
from .models import Model
from .sites import at, caller
from .tensor.lifting import constant
from .transforming import sweep
from .types import TensorType
from .walk import constants

_SHOWN = 5


def weights_of(model: Model | Source) -> Mapping[str, np.ndarray]:
    """The arrays of the model's constants by name, those of bodies included, in order of first use; then its defaults.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[2])
    >>> {name: array.shape for name, array in gd.weights_of(gd.build(x * gd.constant([1.0, 2.0], "w"))).items()}
    {'w': (2,)}
    """
    arrays = {name: _array(value) for name, value in _named(opened(model)).items()}
    return MappingProxyType({name: array for name, array in arrays.items() if array is not None})


def _array(value: Constant | Input) -> np.ndarray | None:
    return value.default if isinstance(value, Input) else value.array


def _named(model: ModelData) -> dict[str, Constant | Input]:
    emitter = Emitter(store=lambda tensor, array: True)
    emitter.model(model)
    used: list[Constant | Input] = [*constants(model.graph)]
    used += [value for value in model.graph.initializers if isinstance(value, Constant)]
    used += [value for value in model.graph.inputs if value.default is not None]  # in old models, all that it holds
    return {emitter.names[value]: value for value in dict.fromkeys(used)}


def with_weights(
    model: Model | Source,
    weights: Mapping[str, Any],
    *,
    rename: Callable[[str], str | None] | Mapping[str, str] | None = None,
) -> Model:
    """The model with constants and defaults replaced by name: arrays, or torch tensors, of the same dtype and shape.

    >>> import graphdsl as gd
    >>> import numpy as np
    >>> x = gd.input("x", gd.float32[2])
    >>> model = gd.build(x * gd.constant([1.0, 2.0], "conv.weight"))
    >>> state = {"generator.conv.weight": np.float32([3, 4])}
    >>> gd.with_weights(model, state, rename=lambda name: name.removeprefix("generator."))(np.float32([1, 1]))
    array([3., 4.], dtype=float32)

    Args:
        model: A model, which is not changed, or what `gd.load` takes.
        weights: By name; constants that it does not mention stay.
        rename: From a name in `weights` to one in the model; None leaves a weight out.

    Raises:
        WeightError: a name that the model does not have, or that is given twice, or an array of another dtype or
            shape; all are listed.
    """
    if not isinstance(weights, Mapping):
        raise WeightError(f"weights are a mapping from names to arrays, got {type(weights).__name__}" + at(caller()))
    whole = opened(model)
    known = _named(whole)
    values: dict[Value, Value] = {}
    problems: list[str] = []
    for key, given in weights.items():
        name = key if rename is None else rename.get(key, key) if isinstance(rename, Mapping) else rename(key)
        if name is None:
            continue
        old = known.get(name)
        if old is None:
            problems.append(f"{key!r}: the model has no weight {name!r}{nearest(name, known)}")
            continue
        if old in values:
            problems.append(f"{key!r}: {name!r} is given twice")
            continue
        array = _as_array(given)
        held = _array(old)
        kind = old.type if held is None else constant(held, None).type
        assert isinstance(kind, TensorType)
        if array.dtype != kind.dtype.numpy or array.shape != kind.shape:
            problems.append(f"{key!r}: {name!r} is {kind!r}, got {array.dtype}{list(array.shape)}")
            continue
        made = constant(array, old.site, old.name)
        values[old] = made if isinstance(old, Constant) else Input(old.name, old.type, old.owner, old.site, made.array)
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise WeightError("these weights do not fit:\n  " + "\n  ".join(problems[:_SHOWN]) + more + at(caller()))
    return _with_inputs(sweep(whole, lambda node: None, values=values), values) if values else whole


def _with_inputs(model: Model, values: Mapping[Value, Value]) -> Model:
    """The model with other inputs in the place of those whose defaults changed."""
    if not any(isinstance(value, Input) for value in values):
        return model
    graph = model.graph
    inputs = tuple([found if isinstance(found := values.get(value), Input) else value for value in graph.inputs])
    listed = tuple([values.get(value, value) for value in graph.initializers])
    declared = {values.get(value, value): raw for value, raw in graph.declared.items()}
    changed = replace(graph, inputs=inputs, initializers=listed, declared=MappingProxyType(declared))
    return replace(model, graph=changed)


def _as_array(given: Any) -> np.ndarray:
    if hasattr(given, "detach"):  # a torch tensor, perhaps on another device or one that is trained
        given = given.detach().cpu().numpy()
    return np.asarray(given)
