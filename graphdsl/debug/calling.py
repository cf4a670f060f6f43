"""Calls of torch modules: their arguments by name, as arrays and as tensors, and what comes of them."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..errors import ExportError, MissingRuntime
from ..sites import at, caller


class Argument(NamedTuple):
    """One tensor, or number, that a module is called with. The older exporter makes inputs of numbers too."""

    name: str
    """The parameter's name, and the way into it where it holds several tensors: `state_0`."""
    value: Any
    """An array; a number as it was given."""

    @property
    def is_tensor(self) -> bool:
        return isinstance(self.value, np.ndarray)


def torch() -> Any:
    """The module `torch`.

    Raises:
        MissingRuntime: it is not installed.
    """
    try:
        import torch as module
    except ImportError as error:
        raise MissingRuntime(
            f"graphdsl.debug needs torch for this ({error}); install it with: pip install onnx-graphdsl[torch]"
            + at(caller())
        ) from error
    return module


def as_call(args: Any, kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments of a call as a tuple and a mapping."""
    return (args if isinstance(args, tuple) else (args,)), dict(kwargs or {})


def arguments_of(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Argument]:
    """The tensors and numbers that a module is called with, in the order of its parameters.

    Raises:
        ExportError: the module cannot be called so.
    """
    found = []
    for name, value in _by_parameter(module, args, kwargs, defaults=True).items():
        for path, leaf in leaves(value):
            label = "_".join((name, *path))
            if isinstance(leaf, torch().Tensor):
                found.append(Argument(label, as_array(leaf)))
            elif isinstance(leaf, (bool, int, float)):
                found.append(Argument(label, leaf))
    return found


def _by_parameter(
    module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, defaults: bool = False
) -> dict[str, Any]:
    """What a module is called with, by parameter; with the defaults of others, which the older exporter passes."""
    forward = getattr(module, "forward", module)
    try:
        bound = inspect.signature(forward).bind(*args, **kwargs)
    except TypeError as error:
        raise ExportError(f"{label_of(module)} cannot be called with these arguments: {error}" + at(caller())) from None
    except ValueError:  # scripted modules tell no signature
        return {f"input_{index}": value for index, value in enumerate(args)} | dict(kwargs)
    if defaults:
        bound.apply_defaults()
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named.update({f"{name}_{index}": item for index, item in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        else:
            named[name] = value
    return named


def leaves(value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """The leaves of nested tuples, lists and dicts, each with the way to it."""
    from torch.utils import _pytree as trees

    paths, _ = trees.tree_flatten_with_path(value)
    return [(tuple(str(getattr(key, "key", getattr(key, "idx", key))) for key in path), leaf) for path, leaf in paths]


def as_array(tensor: Any) -> np.ndarray:
    """A torch tensor as an array of its own memory; bfloat16 and float8 too, which NumPy lacks."""
    import ml_dtypes

    tensor = tensor.detach().cpu().contiguous()
    name = str(tensor.dtype).removeprefix("torch.")
    foreign = getattr(ml_dtypes, name, None)
    if foreign is None:
        return np.array(tensor.resolve_conj().resolve_neg().numpy())
    width = torch().int16 if tensor.element_size() == 2 else torch().int8
    return np.array(tensor.view(width).numpy()).view(foreign)


def as_tensor(array: np.ndarray) -> Any:
    """An array as a torch tensor."""
    if array.dtype.kind != "V" and "float8" not in array.dtype.name and array.dtype.name != "bfloat16":
        return torch().from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    raw = np.ascontiguousarray(array).view(np.int16 if array.dtype.itemsize == 2 else np.int8)
    return torch().from_numpy(raw).view(getattr(torch(), array.dtype.name))


def copied(value: Any) -> Any:
    """Nested arguments with a copy of every tensor: exporters take a tensor that is there twice for one input."""
    from torch.utils import _pytree as trees

    return trees.tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, torch().Tensor) else leaf, value)


def call_torch(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[np.ndarray] | None:
    """The tensors that a module returns for copies of its arguments; None where it refuses them."""
    try:
        with torch().no_grad():
            returned = module(*copied(args), **copied(dict(kwargs)))
    except Exception:
        return None
    return [as_array(leaf) for _, leaf in leaves(returned) if isinstance(leaf, torch().Tensor)]


def call_with(
    module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], index: int, array: np.ndarray
) -> list[np.ndarray] | None:
    """What a module returns where one tensor argument has other values; None where it refuses them."""
    from torch.utils import _pytree as trees

    leaves, spec = trees.tree_flatten(_by_parameter(module, args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch().Tensor)]
    original = leaves[places[index]]
    leaves[places[index]] = as_tensor(array).to(original.device)
    named = trees.tree_unflatten(leaves, spec)
    return call_torch(module, *_recalled(kwargs, named))


def _recalled(kwargs: Mapping[str, Any], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's arguments again, with the values that stand in `named` by parameter."""
    keys = list(named)
    positional = [key for key in keys if key not in kwargs]
    return tuple(named[key] for key in positional), {key: named[key] for key in kwargs if key in named}


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """The module in eval mode; afterwards every part is in the mode that it was in.

    Transformer layers take no fast path meanwhile: it passes their parts by, and the older exporter does not know it.
    """
    parts = list(module.modules()) if hasattr(module, "modules") else []
    before = [part.training for part in parts]
    attention = torch().backends.mha
    fast = attention.get_fastpath_enabled()
    attention.set_fastpath_enabled(False)
    try:
        if parts:
            module.eval()
        yield
    finally:
        attention.set_fastpath_enabled(fast)
        for part, training in zip(parts, before, strict=True):
            if part.training != training:
                part.training = training


def label_of(module: Any) -> str:
    """What a module is called in messages."""
    return type(module).__name__ if hasattr(module, "forward") else repr(module)
