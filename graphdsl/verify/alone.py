"""One operator on arrays: in ONNX's reference evaluator or, where that fails, on ONNX Runtime."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .. import schemas
from ..apart import POOL, Job, Limits
from ..attributes import to_attribute
from ..errors import GraphError, RunError
from ..schemas import Schema
from ..types import as_dtype
from .precise import PRECISE


class Unknown(RunError):
    """No evaluator here knows an operator."""


_evaluators: dict[Any, Any] = {}
_MOST_EVALUATORS = 20_000


def computed(
    schema: Schema, attributes: Mapping[str, Any], inputs: Sequence[Any], count: int, version: int
) -> Sequence[Any]:
    """The outputs of one operator on arrays.

    Raises:
        RunError: no evaluator knows the operator, or it fails.
    """
    if schema.name == "ConvTranspose" and not schema.domain and "output_shape" in attributes:
        attributes = _shaped(attributes)
    key = (
        schema.domain,
        schema.name,
        version,
        count,
        tuple([(name, _key(value)) for name, value in attributes.items()]),
        tuple([None if item is None else item.dtype if isinstance(item, np.ndarray) else list for item in inputs]),
    )
    if schema.name in PRECISE and not schema.domain:
        own = _precise(schema, attributes, inputs, version)
        if own is not None and count <= len(own):
            return own[:count]
    if schema.name == "ConvTranspose" and not schema.domain and attributes.get("group", 1) > 1:
        with _failing(schema):
            return (_by_groups(schema, attributes, inputs, version),)
    run = _evaluators.get(key)
    if run is None:
        if len(_evaluators) >= _MOST_EVALUATORS:
            _evaluators.clear()
        run = _evaluators[key] = _evaluator(schema, attributes, inputs, count, version)
    with _failing(schema):
        found = run(*inputs)
    return [np.asarray(item) if isinstance(item, (np.generic, float, int)) else item for item in found]


@contextmanager
def _failing(schema: Schema) -> Iterator[None]:
    """Whatever an evaluator raises, as an error of ours."""
    try:
        yield
    except GraphError:
        raise
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{schema.label}: {said}") from error


def _precise(
    schema: Schema, attributes: Mapping[str, Any], inputs: Sequence[Any], version: int
) -> tuple[Any, ...] | None:
    """The outputs by our own function; None where the reference is right."""
    with _failing(schema):
        found = PRECISE[schema.name](*inputs, version=version, **attributes)
    # of arrays without axes, NumPy makes scalars
    return found if found is None or isinstance(found, tuple) else (np.asarray(found),)


def _shaped(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """ConvTranspose to a shape, whose pads the reference finds only where `auto_pad` is set (docs/upstream.md)."""
    kept = {name: value for name, value in attributes.items() if name != "pads"}  # which it overrides
    return {**kept, "auto_pad": "SAME_UPPER" if kept.get("auto_pad") == "SAME_UPPER" else "SAME_LOWER"}


def _by_groups(
    schema: Schema, attributes: Mapping[str, Any], inputs: Sequence[Any], version: int
) -> np.ndarray[Any, Any]:
    """ConvTranspose of several groups as one of each, since the reference fails at several (docs/upstream.md)."""
    group = attributes["group"]
    x, w, b = (*inputs, None)[:3]
    if x.shape[1] % group or w.shape[0] % group:
        raise RunError(f"{schema.label}: {x.shape[1]} channels and weights of {w.shape[0]} make no {group} groups")
    parts = zip(
        np.split(x, group, axis=1),
        np.split(w, group),
        [None] * group if b is None else np.split(b, group),
        strict=True,
    )
    single = {**attributes, "group": 1}
    found = [computed(schema, single, [item for item in part if item is not None], 1, version)[0] for part in parts]
    return np.concatenate(found, axis=1)


def _key(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return value if not isinstance(value, float) else repr(value)


def _evaluator(
    schema: Schema, attributes: Mapping[str, Any], inputs: Sequence[Any], count: int, version: int
) -> Callable[..., Any]:
    from onnx.reference import ReferenceEvaluator

    try:
        native = ReferenceEvaluator(_model(schema, attributes, inputs, count, version))
    except Exception as error:
        raise Unknown(f"{schema.label}: ONNX's reference evaluator does not know it: {error}") from error
    (only,) = native.rt_nodes_
    run: Callable[..., Any] = only.run
    return run


def _model(
    schema: Schema, attributes: Mapping[str, Any], inputs: Sequence[Any], count: int, version: int
) -> onnx.ModelProto:
    """A model of one node."""
    names = _names(inputs)
    outputs = [f"o{index}" for index in range(count)]
    node = helper.make_node(schema.name, names, outputs, domain=schema.domain)
    for name, value in attributes.items():
        spec = schema.attributes.get(name)
        node.attribute.append(to_attribute(name, value, spec.kind if spec is not None else None))
    infos = [
        helper.make_tensor_value_info(
            name, onnx.TensorProto.STRING if item.dtype.kind in "OUS" else as_dtype(item.dtype).code, [None] * item.ndim
        )
        for name, item in zip(names, inputs, strict=True)
        if isinstance(item, np.ndarray)
    ]
    graph = onnx.GraphProto(name="node", node=[node], input=infos)
    graph.output.extend([onnx.ValueInfoProto(name=name) for name in outputs])
    imports = [helper.make_opsetid(schema.domain, version)]
    if schema.domain:
        imports.append(helper.make_opsetid("", schemas.DEFAULT_OPSET))
    return helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)


def _names(inputs: Sequence[Any]) -> list[str]:
    return ["" if item is None else f"i{index}" for index, item in enumerate(inputs)]


_OPTIONS = (("intra_op_num_threads", 1), ("inter_op_num_threads", 1), ("graph_optimization_level", "ORT_DISABLE_ALL"))
_IR_VERSION = 10
"""One that every runtime since opset 21 takes."""


def run_alone(
    schema: Schema, attributes: Mapping[str, Any], inputs: Sequence[Any], count: int, version: int
) -> list[Any] | None:
    """The outputs of one operator on ONNX Runtime, in a process of its own; None where it does not run."""
    if not all(item is None or isinstance(item, np.ndarray) for item in inputs):
        return None
    try:
        proto = _model(schema, attributes, inputs, count, version).SerializeToString()
    except (TypeError, ValueError, GraphError):
        return None
    job = Job(blake2b(proto, digest_size=16).digest(), proto, _OPTIONS)
    feeds = {name: item for name, item in zip(_names(inputs), inputs, strict=True) if item is not None}
    found = POOL.run(job, feeds, Limits())
    return found if isinstance(found, list) else None
