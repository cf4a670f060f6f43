"""Passes that drop what does nothing: Identity, Dropout at inference, markers, and nodes that give their input back."""

from collections.abc import Iterable
from typing import Any

from .. import op
from ..ir import Node
from ..loading import opened
from ..models import Model
from ..tensor import Tensor
from ..transforming import transform
from . import rules
from .pipeline import Source, apply
from .unused import unused_functions, unused_opsets


def debug_to_identity(source: Source, operators: str | Iterable[str] = "Debug") -> Model:
    """Debug operators become Identity nodes: those of `gd.marker`, and any other domain's of that name.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.build(gd.marker(x * 2, "doubled"))
    >>> [node.op_type for node in gd.passes.debug_to_identity(model).nodes], model.opset_imports.keys()
    (['Mul', 'Identity'], dict_keys(['', 'graphdsl']))

    Args:
        source: A model, a proto or a path.
        operators: Names ("Debug": of any domain but ONNX's own) or full names ("my::Debug").
    """
    names = {operators} if isinstance(operators, str) else set(operators)

    def visit(node: Node, inputs: tuple[Tensor | None, ...]) -> Any:
        is_named = node.schema.label in names or (node.domain != "" and node.op_type in names)
        if not is_named or len(inputs) != 1 or len(node.outputs) != 1 or inputs[0] is None:
            return None
        return op.Identity(inputs[0])

    model = opened(source)
    changed = transform(model, visit)
    return model if changed is model else unused_opsets(unused_functions(changed))


def drop_identity(source: Source) -> Model:
    """Identity nodes go, and Dropout nodes that do not train and whose mask is not used.

    An Identity stays where ONNX needs it: between an input, or a value that is an output already, and an output.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> y = gd.op.Dropout(gd.op.Identity(x * 2))
    >>> [node.op_type for node in gd.passes.drop_identity(gd.build({"y": y})).nodes]
    ['Mul']
    """
    return apply(source, (rules.drop_identity, rules.drop_dropout))


NOOPS = (
    rules.cast_to_own_dtype,
    rules.transpose_of_nothing,
    rules.reshape_to_own_shape,
    rules.flatten_to_own_shape,
    rules.expand_to_own_shape,
    rules.tile_once,
    rules.slice_of_all,
    rules.concat_of_one,
    rules.one_of_one,
    rules.pad_by_nothing,
    rules.times_one,
    rules.plus_nothing,
)
"""The rules of `drop_noops`."""


def drop_noops(source: Source) -> Model:
    """Nodes go that give their input back bit for bit: Cast to the same dtype, Reshape to the same shape, x * 1, ...

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> y = gd.op.Transpose(gd.op.Cast(x * 1, to=gd.float32), perm=[0])
    >>> [node.op_type for node in gd.passes.drop_noops(gd.build({"y": gd.op.Relu(y)})).nodes]
    ['Relu']
    """
    return apply(source, NOOPS)
