"""NumPy and torch as witnesses: operators that have a function there, called node by node.

They know nothing of ONNX, which is what they are for: where NumPy, torch and ONNX Runtime agree, three implementations
that share no code do. A model with any other operator is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..apart import Refusal
from ..attributes import from_attribute
from ..errors import MissingRuntime
from ..inlining import inline
from ..ir import ModelData, Node, Value, constant_array
from ..walk import constants

Function = Callable[..., Any]
Table = Mapping[str, Function]


_SINCE = {"Softmax": 13, "LogSoftmax": 13}
"""The opsets since which operators mean what the functions do; before, an axis stood for all that follow."""


def _attributes(node: Node) -> dict[str, Any]:
    """The attributes of a node, defaults included."""
    found = {name: from_attribute(spec.default) for name, spec in node.schema.attributes.items() if spec.default}
    return {**found, **node.attributes}


def interpret(
    model: ModelData,
    feeds: Mapping[str, Any],
    table: Table,
    names: Sequence[str],
    read: Function = np.asarray,
    write: Function = np.asarray,
) -> dict[str, Any] | Refusal:
    """The outputs of a model by name, computed by a table of functions; a refusal where one is missing or fails."""
    plain = inline(model) if model.functions else model
    known: dict[Value, Any] = {}
    for value in plain.graph.inputs:
        given = feeds.get(value.name or "", value.default)
        if not isinstance(given, np.ndarray):
            return Refusal(f"input {value.name!r} is no tensor")
        known[value] = read(given)

    def at(value: Value | None) -> Any:
        if value is None:
            return None
        if value not in known:
            known[value] = read(constant_array(value))
        return known[value]

    for node in plain.graph.nodes:
        if node.op_type == "Constant" and constant_array(node.outputs[0]) is not None:
            continue
        known_since = _SINCE.get(node.op_type, 1)
        function = table.get(node.op_type) if not node.domain and node.schema.since >= known_since else None
        if function is None:
            return Refusal(f"no function for {node.schema.label}")
        try:
            with np.errstate(all="ignore"):
                returned = function(*map(at, node.inputs), **_attributes(node))
        except Exception as error:
            return Refusal(f"{node.schema.label}: {type(error).__name__}: {error}", loaded=True)
        if isinstance(returned, Refusal):
            return returned
        many = returned if isinstance(returned, (tuple, list)) else (returned,)
        known.update(zip(node.outputs, many, strict=False))
    try:
        return {name: _plain(write(at(value))) for name, (_, value) in zip(names, plain.graph.outputs, strict=True)}
    except (TypeError, RuntimeError) as error:  # a constant of a dtype that is not known there
        return Refusal(str(error))


def _plain(array: np.ndarray) -> np.ndarray:
    """Text as ONNX Runtime gives it: objects."""
    return array.astype(object) if array.dtype.kind in "US" else array


# NumPy


def _axes(axes: Any, keepdims: Any, noop: Any, rank: int) -> tuple[Any, bool] | None:
    if axes is None or not len(axes):
        return None if noop else (None, bool(keepdims))
    return tuple(int(axis) for axis in np.asarray(axes)), bool(keepdims)


def _reducing(function: Function, before: Function = np.asarray) -> Function:
    """A reduction of what another function makes of each element, which stays where nothing is reduced."""

    def reduce(x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0, **more: Any) -> Any:
        found = _axes(more.get("axes", axes), keepdims, noop_with_empty_axes, x.ndim)
        if found is None:
            return before(x)
        return np.asarray(function(before(x), axis=found[0], keepdims=found[1]), x.dtype)

    return reduce


def _mean(x: Any, *more: Any, **how: Any) -> Any:
    return (
        Refusal("NumPy's mean of integers is a float") if x.dtype.kind in "iu" else _reducing(np.mean)(x, *more, **how)
    )


def _truncated(a: Any, b: Any) -> Any:
    if a.dtype.kind not in "iu":
        return a / b
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


def _power(a: Any, b: Any) -> Any:
    """Of integers by integers, it is exact whatever the dtype of the exponent."""
    exact = a.dtype.kind in "iu" and b.dtype.kind in "iu"
    return np.power(a, b.astype(a.dtype) if exact else b).astype(a.dtype)


def _softmax(x: Any, *, axis: int = -1) -> Any:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _gathered(x: Any, places: Any, *, axis: int = 0) -> Any:
    return np.take(x, np.where(places < 0, places + x.shape[axis], places), axis=axis)


def _folded(function: Function) -> Function:
    """A function of two, over any number."""

    def fold(first: Any, *others: Any) -> Any:
        for other in others:
            first = function(first, other)
        return first

    return fold


def _non_zero(x: Any) -> Any:
    return np.array(np.nonzero(x), np.int64)


def _sliced(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    axes = range(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    found = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        before_first = step < 0 and end < -x.shape[axis]
        found[int(axis)] = slice(int(start), None if before_first else int(end), int(step))
    return x[tuple(found)]


_BY_NAME = ("Sin", "Cos", "Tan", "Sinh", "Cosh", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Ceil", "Floor", "MatMul")
"""Operators that NumPy and torch call as ONNX does, but for capitals."""

_LOGICAL = {
    "Not": "logical_not",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "IsNaN": "isnan",
    "Where": "where",
}
"""Operators that both call otherwise, but alike."""

_NUMPY_NAMES = {
    **{name: name.lower() for name in _BY_NAME},
    **_LOGICAL,
    "Neg": "negative",
    "Sign": "sign",
    "Round": "rint",
    "Asin": "arcsin",
    "Acos": "arccos",
    "Atan": "arctan",
    "Asinh": "arcsinh",
    "Acosh": "arccosh",
    "Atanh": "arctanh",
    "BitwiseNot": "invert",
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Equal": "equal",
}

NUMPY: dict[str, Function] = {
    **{name: getattr(np, function) for name, function in _NUMPY_NAMES.items()},
    **{
        name: _reducing(getattr(np, name[6:].lower())) for name in ("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin")
    },
    "ReduceMean": _mean,
    "MatMul": lambda a, b: np.asarray(np.matmul(a, b), a.dtype),
    "ReduceL1": _reducing(np.sum, np.abs),
    "ReduceSumSquare": _reducing(np.sum, np.square),
    "Identity": lambda x: x,
    "Relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "Reciprocal": lambda x: (1 / x).astype(x.dtype),
    "Div": _truncated,
    "Mod": lambda a, b, fmod=0: np.fmod(a, b) if fmod else np.mod(a, b),
    "Pow": _power,
    "Max": _folded(np.maximum),
    "Min": _folded(np.minimum),
    "Sum": _folded(np.add),
    "Softmax": _softmax,
    "Concat": lambda *parts, axis: np.concatenate(parts, axis),
    "Transpose": lambda x, perm=None: np.transpose(x, perm),
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist()))),
    "Tile": lambda x, repeats: np.tile(x, repeats),
    "Shape": lambda x, start=0, end=None: np.array(x.shape[start:end], np.int64),
    "Size": lambda x: np.array(x.size, np.int64),
    "NonZero": _non_zero,
    "Gather": _gathered,
    "Slice": _sliced,
    "Trilu": lambda x, k=0, upper=1: (np.triu if upper else np.tril)(x, int(k)),
    "Det": np.linalg.det,
    "Unsqueeze": lambda x, axes=None, **more: np.expand_dims(x, tuple(more.get("axes", axes))),
    "IsInf": lambda x, detect_negative=1, detect_positive=1: (
        (np.isneginf(x) & bool(detect_negative)) | (np.isposinf(x) & bool(detect_positive))
    ),
}
"""What NumPy has, by operator."""


# torch


_TORCH_NAMES = {
    **{name: name.lower() for name in _BY_NAME},
    **{name: name.lower() for name in ("Neg", "Round", "Sigmoid", "Reciprocal", "Relu", "Add", "Sub", "Mul", "Det")},
    **{name: name.lower() for name in ("Asin", "Acos", "Atan", "Asinh", "Acosh", "Atanh")},
    **_LOGICAL,
    "BitwiseNot": "bitwise_not",
    "Equal": "eq",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "Less": "lt",
    "LessOrEqual": "le",
}


_TORCH_DTYPES = frozenset(map(np.dtype, "?bBhilefdFD"))
"""The dtypes that NumPy and torch share, and torch computes with."""


@cache
def _torch() -> tuple[Any, Table]:
    """The module, and what it has by operator."""
    try:
        import torch
    except ImportError as error:
        raise MissingRuntime(
            f"the witness 'torch' needs torch ({error}); install it with: pip install onnx-graphdsl[torch]"
        ) from error
    functional: Any = torch.nn.functional
    divide: Any = torch.div
    table: dict[str, Function] = {name: getattr(torch, function) for name, function in _TORCH_NAMES.items()}

    def convolved(x: Any, w: Any, b: Any = None, *, group: int = 1, auto_pad: Any = "NOTSET", **how: Any) -> Any:
        rank = x.dim() - 2
        pads = how.get("pads") or [0] * 2 * rank
        if auto_pad not in ("NOTSET", b"NOTSET"):
            return Refusal("auto_pad is none of torch's manners")
        order = [pads[axis + side * rank] for axis in reversed(range(rank)) for side in (0, 1)]
        convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
        steps, spread = how.get("strides") or [1] * rank, how.get("dilations") or [1] * rank
        return convolve(functional.pad(x, order), w, b, list(steps), 0, list(spread), group)

    def causal(x: Any, w: Any, b: Any = None, past: Any = None, *, activation: Any = "none") -> Any:
        before = w.shape[2] - 1
        whole = torch.cat([x.new_zeros((*x.shape[:2], before)) if past is None else past, x], 2)
        found = functional.conv1d(whole, w, b, groups=x.shape[1])
        return found if _text(activation) == "none" else functional.silu(found), whole[:, :, whole.shape[2] - before :]

    def power(a: Any, b: Any) -> Any:
        exact = not a.is_floating_point() and not b.is_floating_point()
        return torch.pow(a if a.is_floating_point() or exact else a.double(), b.to(a.dtype) if exact else b).to(a.dtype)

    def product(a: Any, b: Any, c: Any = None, *, alpha: float = 1, beta: float = 1, **turned: int) -> Any:
        if not a.is_floating_point() and (alpha != 1 or beta != 1):
            return Refusal("torch scales no integers by floats")
        found = (a.T if turned.get("transA") else a) @ (b.T if turned.get("transB") else b)
        found = found if alpha == 1 else alpha * found
        return found if c is None else found + (c if beta == 1 else beta * c)

    table.update(
        {
            "Identity": lambda x: x,
            "Erf": lambda x: torch.erf(x) if x.is_floating_point() else Refusal("torch's erf of integers is a float"),
            "Div": lambda a, b: divide(a, b, rounding_mode=None if a.is_floating_point() else "trunc"),
            "Mod": lambda a, b, fmod=0: torch.fmod(a, b) if fmod else torch.remainder(a, b),
            "Pow": power,
            "Max": _folded(torch.maximum),
            "Min": _folded(torch.minimum),
            "Sum": _folded(torch.add),
            "Elu": lambda x, alpha=1.0: functional.elu(x, alpha),
            "Selu": lambda x, alpha, gamma: gamma * functional.elu(x, alpha),
            "Celu": lambda x, alpha=1.0: functional.celu(x, alpha),
            "LeakyRelu": lambda x, alpha=0.01: functional.leaky_relu(x, alpha),
            "Softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
            "Softsign": functional.softsign,
            "Mish": functional.mish,
            "Gelu": lambda x, approximate="none": functional.gelu(x, approximate=_text(approximate)),
            "Softmax": lambda x, axis=-1: torch.softmax(x, axis),
            "LogSoftmax": lambda x, axis=-1: torch.log_softmax(x, axis),
            "Concat": lambda *parts, axis: torch.cat(parts, axis),
            "Gemm": product,
            "Conv": convolved,
            "CausalConvWithState": causal,
        }
    )
    return torch, table


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def in_torch(model: ModelData, feeds: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | Refusal:
    """The outputs of a model by name, computed by torch on the CPU."""
    torch, table = _torch()
    given = [*feeds.values(), *(value.array for value in constants(model.graph))]
    if not all(isinstance(value, np.ndarray) and value.dtype in _TORCH_DTYPES for value in given):
        return Refusal("torch has not all of these dtypes")
    with torch.no_grad():
        return interpret(model, feeds, table, names, lambda a: torch.from_numpy(np.array(a)), lambda t: t.numpy())
