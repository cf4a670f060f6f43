"""Passes between the forms in which a model holds data: Constant nodes, initializers, and defaults of inputs."""

from collections.abc import Sequence
from dataclasses import replace

from .. import op
from ..ir import Constant, Node, Value, constant_array
from ..loading import opened
from ..models import Model
from ..renewal import called_again
from ..tensor.calling import Trace, current_trace
from ..tensor.lifting import constant
from ..transforming import sweep
from .outputs import made_under_their_names
from .pipeline import Source


def constants_to_initializers(source: Source) -> Model:
    """Constant nodes become initializers of the same names. In local functions, which have none, they stay.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.build(x + gd.op.Constant(value_float=2.0))
    >>> [node.op_type for node in gd.passes.constants_to_initializers(model).nodes]
    ['Add']
    """

    def visit(node: Node) -> Sequence[Value] | None:
        array = constant_array(node.outputs[0]) if node.op_type == "Constant" else None
        if array is None:
            return None
        return (constant(array, node.site, node.outputs[0].name or None),)

    return sweep(opened(source), visit)


def freeze_defaults(source: Source) -> Model:
    """Inputs that have a default become initializers, which nobody can feed any more.

    Up to IR version 3 every weight is an input with a default, so that no rule may take it for a constant, and
    `simplify` leaves such a model as it is.

    >>> import graphdsl as gd
    >>> import numpy as np
    >>> @gd.model
    ... def scaled(x: gd.float32[2], w: gd.float32[2] = np.float32([2, 3])):
    ...     return x * w
    >>> [value.name for value in gd.passes.freeze_defaults(scaled).inputs]
    ['x']
    """
    model = opened(source)
    frozen: dict[Value, Constant] = {}
    for value in model.graph.inputs:
        if value.default is not None:
            made = frozen[value] = constant(value.default, value.site, value.name)
            made.raw = value.raw
    if not frozen:
        return model
    graph = sweep(model, lambda node: None, values=frozen, same_types=True).graph
    return replace(
        model,
        graph=replace(
            graph,
            inputs=tuple([value for value in graph.inputs if value not in frozen]),
            initializers=tuple([frozen.get(value, value) for value in graph.initializers]),
        ),
        ir_version=max(model.ir_version, _WITHOUT_INPUTS),
    )


_WITHOUT_INPUTS = 4
"""The IR version since which an initializer need not be an input."""


def initializers_to_constants(source: Source) -> Model:
    """Initializers become Constant nodes of the same names; one that is also the default of an input stays.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.build(x + 2.0)
    >>> [node.op_type for node in gd.passes.initializers_to_constants(model).nodes]
    ['Constant', 'Add']
    """
    made: dict[tuple[Trace, Value], Value] = {}

    def node_for(value: Value) -> Value:
        trace = current_trace()
        outer: Trace | None = trace
        while outer is not None:
            if (outer, value) in made:
                return made[outer, value]
            outer = None if outer.closed else outer.parent
        found: Value = op.Constant(value=value.array)._v
        found.name = value.name
        made[trace, value] = found
        return found

    def visit(node: Node) -> Sequence[Value] | None:
        if not any(isinstance(value, Constant) and value.array is not None for value in node.inputs):
            return None
        inputs = [
            node_for(value) if isinstance(value, Constant) and value.array is not None else value
            for value in node.inputs
        ]
        return called_again(node, inputs).outputs

    return made_under_their_names(sweep(opened(source), visit))
