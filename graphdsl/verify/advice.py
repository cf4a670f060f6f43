"""What a refutation comes from where that is hard to see, and what to write instead.

ONNX keeps float attributes in float32. A rule that puts the number 0.01 in the place of `alpha=0.01`, or the other way
round, is right for float32 and wrong for float64, where the constant is 0.01 and the attribute 0.009999999776482582.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from onnx import AttributeProto

from ..ir import Constant, ModelData, Node, Value
from ..rewriting.effective import effective
from ..walk import graphs
from .evaluation import Evaluation
from .judging import AGREE, Judge, ModelSide

_MOST = 256
"""Elements of constants that are looked at."""


class Narrow(NamedTuple):
    """A constant of float64 that is not what an attribute holds, but becomes it in float32."""

    number: float
    attribute: str
    operator: str
    held: float

    def __str__(self) -> str:
        return (
            f"ONNX keeps attributes in float32: {self.attribute} of {self.operator} is {self.held!r}, and the constant "
            f"of float64 is {self.number!r}; write float(np.float32({self.number!r})), or leave float64 alone"
        )


def advice(before: ModelData, after: ModelData, feeds: Mapping[str, Any]) -> Narrow | None:
    """The constant that makes two models differ which are the same with all constants rounded to float32, as the
    attributes are; None where that is not it."""
    found = _narrow(before, after)
    if found is None:
        return None
    return found if Judge(_Rounded(before), _Rounded(after)).judge(feeds, roundings=False).kind == AGREE else None


def _narrow(*models: ModelData) -> Narrow | None:
    nodes = [node for model in models for graph in graphs(model.graph) for node in graph.nodes]
    held = {number: (name, node.schema.label) for node in nodes for name, number in _attributes(node)}
    for number in _constants(nodes):
        with np.errstate(over="ignore"):
            rounded = float(np.float32(number))
        if rounded != number and rounded in held:
            return Narrow(number, *held[rounded], rounded)
    return None


def _attributes(node: Node) -> Iterator[tuple[str, float]]:
    """The floats that a node's attributes hold, those included that are absent and have a default."""
    for name, spec in node.schema.attributes.items():
        if spec.kind in (AttributeProto.FLOAT, AttributeProto.FLOATS):
            value = effective(node, name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float):
                    yield name, number


def _constants(nodes: list[Node]) -> Iterator[float]:
    """The numbers of float64 that stand in constants."""
    for node in nodes:
        for array in (*(value.array for value in node.inputs if value is not None), *node.attributes.values()):
            if isinstance(array, np.ndarray) and array.dtype == np.float64 and array.size <= _MOST:
                yield from array.ravel().tolist()


class _Rounded(ModelSide):
    """A model whose constants are rounded to float32."""

    def compute(self, feeds: Mapping[str, Any], *, noise: int | None = None) -> Evaluation:
        """The outputs in float64."""
        return _Rounding(self.model, feeds, wide=True, noise=noise)


class _Rounding(Evaluation):
    def _set(self, value: Value, given: Any, node: Node | None) -> None:
        made = isinstance(value, Constant) or (node is not None and node.op_type == "Constant")
        if made and isinstance(given, np.ndarray) and given.dtype == np.float64:
            with np.errstate(over="ignore"):
                given = given.astype(np.float32).astype(np.float64)
        super()._set(value, given, node)
