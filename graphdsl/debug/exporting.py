"""Models from torch modules: exported by either exporter, loaded, and checked for what exporters get wrong silently.

An exporter may bake the value of an argument into the model, or feed one input twice where two were meant, without a
word. So every tensor argument gets a tensor of its own, must arrive at an output if torch's result depends on it, and
is varied alone to see whether both sides follow.
"""

import inspect
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ExportError, LoadError, MissingRuntime, RunError
from ..ir import Input
from ..loading import load
from ..models import Model
from ..sites import at, caller
from ..types import TensorType
from ..walk import reachable
from .measures import distance, tolerance

_SEED = 20_240_229


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


def from_torch(
    module: Any,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamo: bool = True,
    optimize: bool = True,
    opset: int | None = None,
    check: bool = True,
    **options: Any,
) -> Model:
    """Export a torch module and load the model, for cross-checking; what exporters get wrong silently is an error.

    The module is exported in eval mode, and left in the mode that it was in. No tensor is given to the exporter twice.

    >>> import torch
    >>> from graphdsl import debug
    >>> debug.from_torch(torch.nn.Linear(3, 2), torch.ones(1, 3), dynamo=False)
    <Model 'main_graph'(input: float32[1, 3]), 1 nodes, opset 20>

    Args:
        module: A `torch.nn.Module`, or a scripted one (with `dynamo=False`).
        args: What it is called with: a tuple, or one tensor.
        kwargs: What it is called with by name.
        dynamo: Which of torch's exporters: the one that traces with `torch.export`, or the older TorchScript one.
        optimize: Let the exporter fold constants and fuse operators; without, more modules can be aligned.
        opset: The opset version; by default the exporter's choice.
        check: Compare with torch on inputs of which one at a time is varied. This runs both once for each input.
        options: Handed on to `torch.onnx.export`: `dynamic_shapes`, `input_names` and so on.

    Raises:
        ExportError: the exporter fails, or the model takes an argument for a constant.
        MissingRuntime: torch is not installed.
    """
    site = caller()
    args, kwargs = as_call(args, kwargs)
    arguments = arguments_of(module, args, kwargs)
    with evaluating(module):
        model = _exported(module, args, dict(kwargs), arguments, dynamo, optimize, opset, options, at(site))
        if check:
            problems = unfaithful(module, args, kwargs, arguments, model)
            if problems:
                raise ExportError("\n".join(problems) + at(site))
    return model


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
        raise ExportError(f"{_label(module)} cannot be called with these arguments: {error}" + at(caller())) from None
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters print, log and warn of: what matters of it is checked, or comes as an exception."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


# Exporting


def _exported(
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    arguments: Sequence[Argument],
    dynamo: bool,
    optimize: bool,
    opset: int | None,
    options: dict[str, Any],
    where: str,
) -> Model:
    scripted = isinstance(module, torch().jit.ScriptModule)
    if scripted and dynamo:
        raise ExportError(
            f"{_label(module)} is scripted, and only the older exporter takes such modules; "
            "write from_torch(..., dynamo=False)" + where
        )
    if opset is not None:
        options["opset_version"] = opset
    if not dynamo and not scripted:  # the newer exporter names inputs so by itself
        options.setdefault("input_names", [argument.name for argument in arguments])
    options.setdefault("verbose", False)
    if dynamo:
        options.setdefault("optimize", optimize)
    elif not optimize:
        options.setdefault("do_constant_folding", False)
        options.setdefault("training", torch().onnx.TrainingMode.PRESERVE)  # else convolutions take normalisations in
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "exported.onnx")
        given, named = copied(args), copied(_in_order(module, kwargs))
        try:
            with _quiet():
                torch().onnx.export(module, given, str(path), kwargs=named, dynamo=dynamo, **options)
        except Exception as error:
            other = f"; try dynamo={not dynamo}" if not scripted else ""
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ExportError(
                f"torch.onnx.export(..., dynamo={dynamo}) fails on {_label(module)}: {said}{other}" + where
            ) from error
        try:
            return load(path)
        except LoadError as error:
            raise ExportError(
                f"torch.onnx.export(..., dynamo={dynamo}) writes an invalid model of {_label(module)}: "
                f"{str(error).partition(': ')[2]}" + where
            ) from error


def copied(value: Any) -> Any:
    """Nested arguments with a copy of every tensor: exporters take a tensor that is there twice for one input."""
    from torch.utils import _pytree as trees

    return trees.tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, torch().Tensor) else leaf, value)


def _in_order(module: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments in the order of the parameters, in which the inputs are named."""
    try:
        order = list(inspect.signature(getattr(module, "forward", module)).parameters)
    except ValueError:
        return kwargs
    return {name: kwargs[name] for name in sorted(kwargs, key=lambda n: order.index(n) if n in order else len(order))}


# Checking


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
) -> list[str]:
    """What is wrong with the way from the arguments to the outputs: a sentence for each argument.

    Without `vary`, only arguments that reach no output are looked at.
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
        varied = varied_call(module, args, kwargs, index, argument.value)
        if varied is None:
            continue
        array, moved = varied
        follows = any(not np.array_equal(a, b, equal_nan=_floating(a)) for a, b in zip(moved, expected, strict=True))
        label = f"argument {argument.name!r} of {_label(module)}"
        if name is None or name not in read:
            if follows:
                what = "is not an input of the model" if name is None else "reaches no output of the model"
                problems.append(
                    f"{label} {what}, though torch's result depends on it: its value was baked in. "
                    f"Keep it a tensor (.item(), int() and float() freeze it), or pass it as a Python number"
                )
            continue
        if exact:
            off = [
                distance(a, b).relative
                for a, b in zip(model.run({**feeds, name: array}).values(), moved, strict=True)
                if not _agree(a, b)
            ]
            if off:
                problems.append(
                    f"{label} is partly baked into the model: on the example the outputs agree with torch's, with this "
                    f"argument varied they are off by {max(off):.2g}. Look for .item(), int(), float() or an if on it"
                )
    return problems


def varied_call(
    module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], index: int, array: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """One tensor argument with other values, and torch's outputs for it; None where there are none that torch takes."""
    from torch.utils import _pytree as trees

    varied = _varied(array)
    if varied is None:
        return None
    replacement = _as_tensor(varied)
    leaves, spec = trees.tree_flatten(_by_parameter(module, args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch().Tensor)]
    original = leaves[places[index]]
    leaves[places[index]] = replacement.to(original.device)
    named = trees.tree_unflatten(leaves, spec)
    moved = call_torch(module, *_recalled(module, args, kwargs, named))
    return None if moved is None else (varied, moved)


def _recalled(
    module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's arguments again, with the values that stand in `named` by parameter."""
    keys = list(named)
    positional = [key for key in keys if key not in kwargs]
    return tuple(named[key] for key in positional), {key: named[key] for key in kwargs if key in named}


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


def _as_tensor(array: np.ndarray) -> Any:
    if array.dtype.kind != "V" and "float8" not in array.dtype.name and array.dtype.name != "bfloat16":
        return torch().from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    raw = np.ascontiguousarray(array).view(np.int16 if array.dtype.itemsize == 2 else np.int8)
    return torch().from_numpy(raw).view(getattr(torch(), array.dtype.name))


def call_torch(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[np.ndarray] | None:
    """The tensors that a module returns for copies of its arguments; None where it refuses them."""
    try:
        with torch().no_grad():
            returned = module(*copied(args), **copied(dict(kwargs)))
    except Exception:
        return None
    return [as_array(leaf) for _, leaf in leaves(returned) if isinstance(leaf, torch().Tensor)]


def _agree(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.dtype == expected.dtype and distance(got, expected).relative <= 30 * tolerance(expected.dtype)


def _floating(array: np.ndarray) -> bool:
    return array.dtype.kind in "fc"


def _label(module: Any) -> str:
    return type(module).__name__ if hasattr(module, "forward") else repr(module)


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
