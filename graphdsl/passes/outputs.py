"""Outputs of a model made by their nodes under their own names, after what stood between them is gone.

Where `y = Identity(x)` is dropped and `y` is an output, what made `x` must make `y`, or an Identity is needed again
when the model is emitted.
"""

from collections.abc import Sequence
from typing import TypeVar

from ..ir import ModelData, Node, Value
from ..renewal import called_again
from ..transforming import sweep

M = TypeVar("M", bound=ModelData)


def made_under_their_names(model: M) -> M:
    """The model with each output made under its name, where its node makes no other output of the model."""
    outputs = model.graph.outputs
    inputs = {value.name for value in model.graph.inputs}
    kept = {value for name, value in outputs if name is None or name == value.name}
    wanted: dict[Value, str] = {}
    for name, value in outputs:
        # a value without a name of its own takes that of the output when it is emitted
        if name and value.name and value.node is not None and value not in kept and name not in inputs:
            wanted.setdefault(value, name)
    if not wanted:
        return model

    def follow(old: Node, new: Node) -> None:
        for before, after in zip(old.outputs, new.outputs, strict=True):
            if before in wanted:
                wanted[after] = wanted[before]

    def visit(node: Node) -> Sequence[Value] | None:
        if not any(value in wanted for value in node.outputs):
            return None
        made = called_again(node, node.inputs)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.name = wanted.get(old, old.name)
        return made.outputs

    return sweep(model, visit, follow)
