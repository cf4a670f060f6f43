"""Passes between the two forms in which a model holds data: Constant nodes and initializers."""

from collections.abc import Sequence

from .. import op
from ..ir import Constant, Node, Value, constant_array
from ..loading import opened
from ..models import Model
from ..tensor.calling import Trace, current_trace
from ..tensor.lifting import constant
from ..transforming import called_again, sweep
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
