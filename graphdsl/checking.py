"""Whether a model is valid: ONNX's checker and ours, every finding at once, and what is doubtful as notes."""

from collections.abc import Iterator
from typing import NamedTuple

import onnx

from .emission import Emitter
from .errors import CheckError, GraphError, MissingRuntime
from .inference import infer
from .ir import Graph, ModelData, Node, Value
from .loading import Source, load
from .runtime import opens
from .sites import at
from .types import TensorType, Type, from_proto
from .walk import graphs

_LARGE = 1 << 20
"""Weights of more bytes than this are not shown to ONNX's checker, which looks at their shape alone."""


class Finding(NamedTuple):
    """One thing that is wrong: the node it is about, if any, and the text."""

    node: Node | None
    text: str

    def __str__(self) -> str:
        return self.text + (at(self.node.site) if self.node is not None else "")


def check(model: ModelData | Source) -> tuple[str, ...]:
    """Check a model by ONNX's full check and ours.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> gd.check(gd.build({"y": x * 2}))
    ()

    Args:
        model: A model, or what `gd.load` takes.

    Returns:
        Notes: what ONNX Runtime here cannot run, and declarations that contradict what is inferred.

    Raises:
        CheckError: the model is invalid; `.findings` lists everything that is wrong.
        LoadError: it cannot be read at all.
    """
    subject = model if isinstance(model, ModelData) else load(model)
    findings = [*_untyped(subject), *_refused(subject)]
    findings = findings or list(_official(subject))
    if findings:
        texts = tuple(map(str, findings))
        raise CheckError(f"the model {subject.graph.name!r} is invalid:\n" + "\n".join(texts), texts)
    return (*_doubtful(subject), *_not_runnable(subject))


def _untyped(model: ModelData) -> Iterator[Finding]:
    """Graph inputs and outputs whose type ONNX requires, and does not get."""
    ends: list[tuple[str, Value]] = [(f"the input {value.name!r}", value) for value in model.graph.inputs]
    ends += [(f"the output {name or value.name!r}", value) for name, value in model.graph.outputs]
    for label, value in ends:
        if value.type is None:
            yield Finding(value.node, f"{label} has no type")
        elif isinstance(value.type, TensorType) and value.type.shape is None and value not in model.graph.declared:
            yield Finding(value.node, f"{label} is {value.type!r} of unknown rank; ONNX's checker wants one declared")


def _refused(model: ModelData) -> Iterator[Finding]:
    """Nodes whose inputs their operators refuse."""
    for graph in _parts(model):
        for node in graph.nodes:
            types = tuple([None if value is None else value.type for value in node.inputs])
            if None in [kind for kind, value in zip(types, node.inputs, strict=True) if value is not None]:
                continue
            try:
                infer(node.schema, node.inputs, types, node.attributes, len(node.outputs), None)
            except GraphError as error:
                yield Finding(node, f"node {_label(node)}: {error}")


def _parts(model: ModelData) -> Iterator[Graph]:
    yield from graphs(model.graph)


def _label(node: Node) -> str:
    name = node.info.name if node.info is not None else ""
    outputs = ", ".join(repr(value.name) for value in node.outputs if value.name)
    return " ".join(
        part for part in (node.schema.label, repr(name) if name else "", f"({outputs})" if outputs else "") if part
    )


def _official(model: ModelData) -> Iterator[Finding]:
    """What ONNX's own checker finds first."""
    proto = Emitter(store=_leave_out).model(model)
    listed = {info.name for info in proto.graph.input}
    kept: list[onnx.TensorProto] = []
    for tensor in proto.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            kept.append(tensor)
        elif tensor.name not in listed:  # a large weight counts as an input of its type
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            proto.graph.input.append(info)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        yield Finding(None, " ".join(str(error).split()))


def _leave_out(tensor: onnx.TensorProto, array: "object") -> bool:
    size = getattr(array, "nbytes", 0)
    if size <= _LARGE:
        return False
    tensor.dims.extend(array.shape)  # type: ignore[attr-defined]
    tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)  # type: ignore[attr-defined]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    return True


def _doubtful(model: ModelData) -> Iterator[str]:
    """Declared types that contradict what is inferred."""
    for value, raw in model.graph.declared.items():
        declared = from_proto(onnx.ValueInfoProto.FromString(raw).type)
        if value.node is not None and declared is not None and _contradicts(declared, value):
            yield f"{value.name!r} is declared {declared!r}, and is {value.type!r}"


def _contradicts(declared: Type, value: Value) -> bool:
    found = value.type
    if not isinstance(declared, TensorType) or not isinstance(found, TensorType):
        return found is not None and type(found) is not type(declared)
    if declared.dtype is not found.dtype:
        return True
    if declared.shape is None or found.shape is None:
        return False
    if len(declared.shape) != len(found.shape):
        return True
    pairs = list(zip(declared.shape, found.shape, strict=True))
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)


def _not_runnable(model: ModelData) -> Iterator[str]:
    """Why ONNX Runtime here does not load the model, if it does not."""
    try:
        problem = opens(model)
    except MissingRuntime:
        return
    if problem is not None:
        yield f"ONNX Runtime here cannot run it: {problem}"
