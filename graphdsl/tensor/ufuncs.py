"""NumPy's ufuncs on tensors: `np.exp(t)`, `array + t` and `np.add.reduce(t)` make nodes, or say what to write.

A ufunc that is an operator of Python's does what that operator does. One that ONNX has is one node, another is composed
(mathematics.py), and what neither can do is refused.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from . import mathematics
from .division import in_float32
from .elementwise import Elementwise, is_operand, refuse, same_dtype
from .indexing import Indexing

_OPERATORS: dict[np.ufunc, tuple[str, str]] = {
    np.add: ("__add__", "__radd__"),
    np.subtract: ("__sub__", "__rsub__"),
    np.multiply: ("__mul__", "__rmul__"),
    np.divide: ("__truediv__", "__rtruediv__"),
    np.floor_divide: ("__floordiv__", "__rfloordiv__"),
    np.remainder: ("__mod__", "__rmod__"),
    np.divmod: ("__divmod__", "__rdivmod__"),
    np.power: ("__pow__", "__rpow__"),
    np.matmul: ("__matmul__", "__rmatmul__"),
    np.equal: ("__eq__", "__eq__"),
    np.not_equal: ("__ne__", "__ne__"),
    np.less: ("__lt__", "__gt__"),
    np.less_equal: ("__le__", "__ge__"),
    np.greater: ("__gt__", "__lt__"),
    np.greater_equal: ("__ge__", "__le__"),
    np.bitwise_and: ("__and__", "__rand__"),
    np.bitwise_or: ("__or__", "__ror__"),
    np.bitwise_xor: ("__xor__", "__rxor__"),
    np.left_shift: ("__lshift__", "__rlshift__"),
    np.right_shift: ("__rshift__", "__rrshift__"),
    np.negative: ("__neg__", ""),
    np.positive: ("__pos__", ""),
    np.absolute: ("__abs__", ""),
    np.invert: ("__invert__", ""),
}
"""The methods that do what a ufunc does: of its first operand, and of its second where only that is a tensor."""


class _Function(NamedTuple):
    """What stands for a ufunc: a function of tensors, and the kinds of dtype that it takes."""

    compute: Callable[..., Any]
    kinds: frozenset[str]
    mixes: bool = False
    """Whether the dtypes may differ: where each operand is only asked whether it is true."""


_FLOATS = frozenset({"float"})
_NUMBERS = frozenset({"float", "int", "uint"})
_REAL = _NUMBERS | {"bool"}


def _node(name: str, **attributes: Any) -> Callable[..., Any]:
    return lambda x, *others: x._emit(name, x, *others, **attributes)


def _scaled(factor: float) -> Callable[..., Any]:
    return in_float32(lambda x: x * x._constant(factor))


def _by_kind(floats: Callable[..., Any], others: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *more: (floats if x._kind in ("float", "") else others)(x, *more)


def _extreme(name: str, logical: str) -> Callable[..., Any]:
    return lambda x, y: x._emit(logical if x._kind == "bool" else name, x, y)


def _logical(name: str) -> Callable[..., Any]:
    return lambda *tensors: tensors[0]._emit(name, *[_truth(x) for x in tensors])


def _truth(x: Any) -> Any:
    return x if x._kind in ("bool", "") else x != 0


def _no_change(x: Any) -> Any:
    return x


def _float_power(x: Any, y: Any) -> Any:
    return x.astype(np.float64) ** y.astype(np.float64)


def _column(x: Any) -> Any:
    return x._emit("Unsqueeze", x, axes=[-1])


def _matvec(matrix: Any, vector: Any) -> Any:
    product = matrix @ _column(vector)
    return product._emit("Squeeze", product, axes=[-1])


def _vecmat(vector: Any, matrix: Any) -> Any:
    product = vector._emit("Unsqueeze", vector, axes=[-2]) @ matrix
    return product._emit("Squeeze", product, axes=[-2])


def _vecdot(x: Any, y: Any) -> Any:
    return (x * y).sum(axis=-1)


_FUNCTIONS: dict[np.ufunc, _Function] = {
    **{
        getattr(np, numpy): _Function(_node(onnx), _FLOATS)
        for numpy, onnx in {
            "arccos": "Acos",
            "arccosh": "Acosh",
            "arcsin": "Asin",
            "arcsinh": "Asinh",
            "arctan": "Atan",
            "arctanh": "Atanh",
            "cos": "Cos",
            "cosh": "Cosh",
            "exp": "Exp",
            "fabs": "Abs",
            "log": "Log",
            "reciprocal": "Reciprocal",
            "rint": "Round",
            "sin": "Sin",
            "sinh": "Sinh",
            "sqrt": "Sqrt",
            "tan": "Tan",
            "tanh": "Tanh",
        }.items()
    },
    **{
        getattr(np, name): _Function(getattr(mathematics, name), _FLOATS)
        for name in (
            *("arctan2", "cbrt", "copysign", "exp2", "expm1", "heaviside", "hypot", "log10", "log1p", "log2"),
            *("logaddexp", "logaddexp2", "modf"),
        )
    },
    np.ceil: _Function(_by_kind(_node("Ceil"), _no_change), _REAL),
    np.floor: _Function(_by_kind(_node("Floor"), _no_change), _REAL),
    np.trunc: _Function(_by_kind(mathematics.trunc, _no_change), _REAL),
    np.sign: _Function(_node("Sign"), _NUMBERS),
    np.signbit: _Function(_by_kind(mathematics.signbit, lambda x: x < 0), _NUMBERS),
    np.isnan: _Function(_by_kind(_node("IsNaN"), lambda x: x != x), _REAL),
    np.isinf: _Function(_by_kind(_node("IsInf"), lambda x: x != x), _REAL),
    np.isfinite: _Function(_by_kind(mathematics.isfinite, lambda x: x == x), _REAL),
    np.square: _Function(lambda x: x * x, _NUMBERS),
    np.conjugate: _Function(_no_change, _NUMBERS),
    np.deg2rad: _Function(_scaled(np.pi / 180), _FLOATS),
    np.radians: _Function(_scaled(np.pi / 180), _FLOATS),
    np.rad2deg: _Function(_scaled(180 / np.pi), _FLOATS),
    np.degrees: _Function(_scaled(180 / np.pi), _FLOATS),
    np.fmod: _Function(_node("Mod", fmod=1), _NUMBERS),
    np.maximum: _Function(_extreme("Max", "Or"), _REAL),
    np.minimum: _Function(_extreme("Min", "And"), _REAL),
    np.fmax: _Function(_by_kind(mathematics.fmax, _extreme("Max", "Or")), _REAL),
    np.fmin: _Function(_by_kind(mathematics.fmin, _extreme("Min", "And")), _REAL),
    np.logical_and: _Function(_logical("And"), _REAL, mixes=True),
    np.logical_or: _Function(_logical("Or"), _REAL, mixes=True),
    np.logical_xor: _Function(_logical("Xor"), _REAL, mixes=True),
    np.logical_not: _Function(_logical("Not"), _REAL, mixes=True),
    np.float_power: _Function(_float_power, _NUMBERS),
    np.vecdot: _Function(_vecdot, _NUMBERS),
}
_FUNCTIONS |= {
    getattr(np, name): _Function(compute, _NUMBERS)
    for name, compute in {"matvec": _matvec, "vecmat": _vecmat}.items()
    if hasattr(np, name)  # since NumPy 2.2
}

_REFUSED: dict[str, str] = {
    "bitwise_count": "add up (t >> k) & 1 of an unsigned tensor for each bit k",
    "frexp": "write e = np.floor(np.log2(abs(t))) + 1 and t / np.exp2(e)",
    "gcd": "write op.Loop over a, b = b, a % b until b is 0",
    "isnat": "ONNX has no dates; np.isnan(t) tells NaN",
    "lcm": "write op.Loop over a, b = b, a % b until b is 0, then a0 // a * b0",
    "ldexp": "write t * np.exp2(n.astype(t.dtype))",
    "nextafter": "ONNX does not show the bits of a float before op.BitCast of opset 26",
    "spacing": "write np.exp2(np.floor(np.log2(abs(t)))) * np.finfo(np.float32).eps for normal float32 numbers",
}
"""What to write instead of a ufunc that tensors do not have."""

_REDUCTIONS = {
    np.add: "sum",
    np.multiply: "prod",
    np.maximum: "max",
    np.minimum: "min",
    np.logical_and: "all",
    np.logical_or: "any",
}
_RUNNING = {np.add: "cumsum", np.multiply: "cumprod"}

_HARMLESS = {"casting": "same_kind", "order": "K", "subok": True, "where": True, "dtype": None, "signature": None}
"""What keywords of ufuncs may say, because it changes nothing."""

_KEYWORDS = {
    "out": "a model changes no array and no tensor: use the result, as in y = np.{name}(...) or a = a + t for a += t",
    "where": "write np.where(condition, np.{name}(...), otherwise)",
    "dtype": "cast the operands, as in np.{name}(t.astype(gd.float32))",
    "signature": "cast the operands, as in np.{name}(t.astype(gd.float32))",
    "initial": "join it to the result, as in t.sum() + initial",
    "axes": "move the axes first, as in t.transpose(...)",
    "axis": "move the axis last first, as in np.moveaxis(t, axis, -1)",
    "keepdims": "write np.expand_dims(result, -1)",
}


class Ufuncs(Indexing):
    """NumPy's ufuncs, called with tensors.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32["n"])
    >>> np.exp(x), np.float32(2) * x, np.add.outer(x, x)
    (<Tensor float32['n']>, <Tensor float32['n']>, <Tensor float32['n', 'n']>)
    """

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        """What NumPy calls for a ufunc of which an operand is a tensor, or array arithmetic with one."""
        if not all(is_operand(item) for item in inputs):
            return NotImplemented
        match method:
            case "__call__":
                _check_keywords(ufunc.__name__, keywords)
                return _call(ufunc, inputs)
            case "reduce" if ufunc in _REDUCTIONS:
                return _along_axis(_REDUCTIONS[ufunc], ufunc, method, inputs, keywords)
            case "accumulate" if ufunc in _RUNNING:
                return _along_axis(_RUNNING[ufunc], ufunc, method, inputs, keywords)
            case "outer":
                _check_keywords(f"{ufunc.__name__}.outer", keywords)
                return _outer(ufunc, *inputs)
        _refuse_method(ufunc, method)


def _refuse_method(ufunc: np.ufunc, method: str) -> NoReturn:
    instead = {
        "reduce": f"it is known of {', '.join(f.__name__ for f in _REDUCTIONS)}; for others write op.Scan",
        "accumulate": f"it is known of {', '.join(f.__name__ for f in _RUNNING)}; for others write op.Scan",
        "reduceat": "reduce slices, as in t[0:3].sum(), and join them with op.Concat",
        "at": 'a tensor never changes: write op.ScatterElements(t, indices, values, reduction="add"), or "mul", ...',
    }[method]
    refuse(f"np.{ufunc.__name__}.{method} on a tensor", instead)


def _check_keywords(name: str, keywords: Mapping[str, Any]) -> None:
    for key, value in keywords.items():
        if not isinstance(value, (bool, str, type(None))) or (key, value) not in _HARMLESS.items():
            instead = _KEYWORDS.get(key, "leave it out: a tensor's operators have no such choice")
            refuse(f"np.{name}(..., {key}=...) on a tensor", instead.format(name=name))


def _call(ufunc: np.ufunc, inputs: tuple[Any, ...]) -> Any:
    name = ufunc.__name__
    like = next(item for item in inputs if isinstance(item, Elementwise))
    if ufunc in _OPERATORS:
        method, reflected = _OPERATORS[ufunc]
        if like is inputs[0]:
            return getattr(like, method)(*inputs[1:])
        return getattr(like, reflected)(inputs[0])
    if ufunc not in _FUNCTIONS:
        refuse(f"np.{name} on a tensor", _REFUSED.get(name, "ONNX has no operator for it: compose it of others"))
    tensors = [like._tensor(item, f"np.{name}") for item in inputs]
    function = _FUNCTIONS[ufunc]
    known = [tensor for tensor in tensors if tensor._kind]
    if known and not function.mixes:
        same_dtype(f"np.{name}", *known)
    for tensor in known:
        if tensor._kind not in function.kinds:
            refuse(f"np.{name} of {tensor.dtype} tensors", _other_kind(name, function.kinds, tensor._kind))
    return function.compute(*tensors)


def _other_kind(name: str, kinds: frozenset[str], kind: str) -> str:
    """What to write for a dtype of a kind that the function does not take."""
    if kind == "string":
        return "ONNX has no operator for text here"
    if kind == "complex":
        return "ONNX has no operator for it: keep real and imaginary parts in two tensors"
    return f"cast first, as in np.{name}(t.astype(gd.{'float32' if kinds is _FLOATS else 'int64'}))"


def _along_axis(name: str, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """A reduction or running reduction of one tensor; NumPy's ufuncs work along axis 0 unless told otherwise."""
    tensor, *more = inputs
    given = dict(zip(("axis", "dtype", "out"), more, strict=False)) | dict(keywords)
    axis = given.pop("axis", 0)
    keepdims = {"keepdims": True} if given.pop("keepdims", False) else {}
    dtype = given.pop("dtype", None)
    given = {key: value for key, value in given.items() if value is not None}
    _check_keywords(f"{ufunc.__name__}.{method}", given)
    cast = tensor if dtype is None else tensor.astype(dtype)
    return getattr(cast, name)(axis=axis, **keepdims)


def _outer(ufunc: np.ufunc, left: Any, right: Any) -> Any:
    """The ufunc on every pair of elements."""
    like = left if isinstance(left, Elementwise) else right
    a, b = (like._tensor(item, f"np.{ufunc.__name__}.outer") for item in (left, right))
    if b.rank is None:
        refuse(f"np.{ufunc.__name__}.outer with a tensor of unknown rank", "write a[:, None] and the operator")
    if b.rank:
        a = a._emit("Unsqueeze", a, axes=list(range(-b.rank, 0)))
    return _call(ufunc, (a, b))
