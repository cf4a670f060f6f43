"""Operators under their ONNX names: `op.Conv(x, w, pads=[1, 1, 1, 1])`.

`op.X` is operator X at the opset in force; `gd.opset(13).X` at opset 13; `gd.domain("ai.onnx.ml", 3).X` of another
domain. Each is an ordinary function with the operator's documentation; op.pyi describes them all to editors.

>>> import graphdsl as gd
>>> from graphdsl import op
>>> op.Relu(gd.input("x", gd.float32[2, "n"]))
<Tensor float32[2, 'n']>
"""

from collections.abc import Callable
from typing import Any

from . import operators, schemas
from .operators import Domain, Opset, domain, opset

__all__ = ["Domain", "Opset", "domain", "opset"]


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("_"):
        raise AttributeError(name)
    return operators.operator("", name, None)


def __dir__() -> list[str]:
    return sorted([*schemas.operators("", schemas.opset_in_force()), *__all__])
