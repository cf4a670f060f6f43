"""A node on other inputs: made anew, with what is still true of it.

Where the new inputs have the types of the old ones, so have the outputs, and what a file declares of them holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import InferenceError
from .inference import READS
from .ir import Node, NodeInfo, Value, make_node
from .schemas import Schema
from .tensor import Tensor
from .tensor.calling import Trace, current_trace
from .types import TensorType, Type


def called_again(node: Node, inputs: Sequence[Value | None]) -> Node:
    """A node on other inputs, in the current trace; its types are inferred again where they may be others."""
    alike, trace = all(map(is_alike, inputs, node.inputs)), current_trace()
    if alike and is_typed_by_types(node.schema):
        return moved(node, node.schema, tuple(inputs), node.attributes, trace)
    return inferred(node, node.schema, tuple(inputs), node.attributes, trace, alike=alike)


def is_alike(new: Value | None, old: Value | None) -> bool:
    """Whether a value has the type of the one whose place it takes, as far as that was known."""
    if new is None or old is None:
        return new is old
    return new is old or old.type is None or new.type is old.type


def is_typed_by_types(schema: Schema) -> bool:
    """Whether the types of an operator's outputs depend on nothing of its inputs but their types."""
    return schema.rule is None and schema.name not in READS


def moved(
    node: Node, schema: Schema, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], trace: Trace
) -> Node:
    """A node on other inputs, of the same types: what was known of its outputs holds, as a file may declare it."""
    outputs = node.outputs
    info = node.info if attributes is node.attributes else _info(node, attributes)
    if len(outputs) == 1:  # nearly all
        before = outputs[0]
        made = make_node(schema, inputs, attributes, (before.type,), trace, node.site, info)
        made.outputs[0].name = before.name or None
        return made
    made = make_node(schema, inputs, attributes, [value.type for value in outputs], trace, node.site, info)
    for before in outputs:
        made.outputs[before.index].name = before.name or None
    return made


def inferred(
    node: Node,
    schema: Schema,
    inputs: tuple[Value | None, ...],
    attributes: Mapping[str, Any],
    trace: Trace,
    *,
    alike: bool,
) -> Node:
    """A node on other inputs, with its types inferred; where nobody can, and the inputs are `alike`, they stay.

    A call that inference refuses comes from a file, and runtimes may run it all the same, so it stays too.
    """
    handles = [None if value is None else Tensor(value) for value in inputs]
    try:
        made = trace.call(schema, handles, attributes, len(node.outputs), node.site, _info(node, attributes))
    except InferenceError:
        from_file = node.info is not None and node.info.kept is not None
        if not from_file or not _same_dtypes(inputs, node.inputs):
            raise
        return moved(node, schema, inputs, attributes, trace)
    for before, after in zip(node.outputs, made, strict=True):
        after.name = before.name or None
        if alike and after.type is None:
            after.type = before.type
    found = made[0].node
    assert found is not None
    return found


def _info(node: Node, attributes: Mapping[str, Any]) -> NodeInfo | None:
    """What is known of a node, for one with these attributes: the bytes of a file are those without bodies."""
    info = node.info
    if attributes is node.attributes or info is None or info.kept is None:
        return info
    return info._replace(kept=info.kept._replace(attributes=attributes))


def _same_dtypes(one: Iterable[Value | None], other: Iterable[Value | None]) -> bool:
    """Whether two lists of inputs are of the same dtypes, as far as those of the second are known."""
    pairs = zip(one, other, strict=True)
    return all(a is b or (a and b and (b.type is None or _dtype(a.type) is _dtype(b.type))) for a, b in pairs)


def _dtype(kind: Type | None) -> Any:
    return kind.dtype if isinstance(kind, TensorType) else kind
