"""Whether a model is valid: ONNX's checker and ours, every finding at once, and what is doubtful as notes."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import onnx

from .emission import Emitter
from .errors import CheckError, GraphError
from .external import describe
from .fitting import misfits
from .inference import infer
from .ir import ModelData, Node, Value
from .loading import Source, load
from .notes import doubtful, label, not_runnable
from .schemas import of_file
from .sites import at
from .types import TensorType
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
        Notes: what is declared and doubtful, and what ONNX Runtime here cannot run, each with its node and line.

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
    return (*doubtful(subject), *not_runnable(subject))


def _untyped(model: ModelData) -> Iterator[Finding]:
    """Graph inputs and outputs whose type ONNX requires, and does not get."""
    ends: list[tuple[str, Value]] = [(f"the input {value.name!r}", value) for value in model.graph.inputs]
    ends += [(f"the output {name or value.name!r}", value) for name, value in model.graph.outputs]
    for name, value in ends:
        if value.type is None:
            yield Finding(value.node, f"{name} has no type")
        elif isinstance(value.type, TensorType) and value.type.shape is None and value not in model.graph.declared:
            yield Finding(value.node, f"{name} is {value.type!r} of unknown rank; ONNX's checker wants one declared")


def _refused(model: ModelData) -> Iterator[Finding]:
    """Nodes that their operators do not have, or whose inputs they refuse; those of functions too."""
    for graph in graphs(model.graph):
        for node in graph.nodes:
            yield from _wrong(node, model.opset_imports)
    for function in model.functions:
        for graph in graphs(function.graph):
            for node in graph.nodes:
                yield from _wrong(node, function.opset_imports or model.opset_imports)


def _wrong(node: Node, imports: Mapping[str, int]) -> Iterator[Finding]:
    schema = node.schema
    if schema.is_bare:
        kept = node.info.kept if node.info is not None else None
        known = of_file(schema.domain, schema.name, imports.get(schema.domain, 1))
        if known is not None and kept is not None:
            for text in misfits(known, onnx.NodeProto.FromString(kept.raw)):
                yield Finding(node, f"node {label(node)}: {text}")
        return
    types = tuple([None if value is None else value.type for value in node.inputs])
    if None in [kind for kind, value in zip(types, node.inputs, strict=True) if value is not None]:
        return
    try:
        infer(schema, node.inputs, types, node.attributes, len(node.outputs), None)
    except GraphError as error:
        yield Finding(node, f"node {label(node)}: {error}")


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
    except MemoryError:
        yield Finding(None, "ONNX's checker runs out of memory")
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        yield Finding(None, " ".join(str(error).split()))


def _leave_out(tensor: onnx.TensorProto, array: np.ndarray) -> bool:
    if array.nbytes <= _LARGE:
        return False
    describe(tensor, array)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    return True
