"""The IR version that a model needs (ONNX specification, Versioning.md)."""

from collections.abc import Mapping

from onnx import helper

from .ir import Function
from .types import OptionalType, SparseTensorType, TensorType, Type
from .walk import Survey

_BY_OPSET = {("" if d == "ai.onnx" else d, v): ir for (d, v), ir in helper.OP_SET_ID_VERSION_MAP.items()}
_BY_DTYPE = {
    "bfloat16": 4,
    "float4e2m1": 11,
    "float8e8m0": 12,
    "int4": 10,
    "uint4": 10,
    "int2": 13,
    "uint2": 13,
    "float6e2m3": 14,
    "float6e3m2": 14,
} | dict.fromkeys(("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"), 9)


def least_ir_version(used: Survey, opset_imports: Mapping[str, int], called: tuple[Function, ...] = ()) -> int:
    """The least IR version that has the opsets and all that the model uses (ONNX specification, Versioning.md)."""
    least = 4  # initializers need not be inputs
    for domain, version in opset_imports.items():
        known = [ir for (d, v), ir in _BY_OPSET.items() if d == domain and v >= version]
        least = max(least, min(known, default=3))
    if called:
        overloaded = len({(f.domain, f.name) for f in called}) < len(called)
        least = max(least, 10 if overloaded else 9 if any(f.defaults for f in called) else 8)
    return max([least, *(_least_of(kind) for kind in used.types if kind is not None)])


def _least_of(kind: Type) -> int:
    """The least IR version that has a type."""
    least = 8 if isinstance(kind, (OptionalType, SparseTensorType)) else 3
    if isinstance(kind, (TensorType, SparseTensorType)):
        return max(least, _BY_DTYPE.get(kind.dtype.name, 3))
    inner = getattr(kind, "element", None)
    return least if inner is None else max(least, _least_of(inner))
