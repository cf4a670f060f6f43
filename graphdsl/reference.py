"""Running models in ONNX's reference evaluator, which takes operators from the NumPy bodies that users declare.

It is slow and plain, and independent of any runtime: what runs there is what the standard says.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .emission import Emitter
from .errors import RunError
from .inlining import inline
from .ir import ModelData, Node
from .repetition import implementations
from .schemas import Schema
from .sites import at, caller
from .types import TensorType, as_dtype
from .walk import operators

PROVIDER = "reference"
"""What `providers` calls the evaluator."""


_declared: "weakref.WeakKeyDictionary[ModelData, list[Schema]]" = weakref.WeakKeyDictionary()
"""The operators of models met before that users have declared."""


def is_needed(model: ModelData) -> bool:
    """Whether a model, or a function that it calls, uses an operator of which only a NumPy body is known."""
    found = _declared.get(model)
    if found is None:
        used = operators(model.graph, *(function.graph for function in model.functions))
        found = _declared[model] = [schema for schema in used if schema.rule is not None and schema.function is None]
    return any(schema.numpy is not None for schema in found)


class Evaluation:
    """A model in the evaluator, as `runtime` uses a session: the names of what it takes and gives, and `run`."""

    foreign = False
    """Whether outputs are the runtime's values; here they are arrays."""

    def __init__(self, model: ModelData, label: str) -> None:
        from onnx.reference import ReferenceEvaluator

        # the evaluator tells no overloads apart, so functions are put in their place
        plain = inline(model) if model.functions else model
        emitter = Emitter(numbered=True)
        proto = emitter.model(plain)
        assert emitter.numbered is not None
        self._nodes: Sequence[Node] = emitter.numbered
        self._label = label
        own = [self._implementation(schema) for schema in operators(plain.graph) if schema.numpy is not None]
        try:
            self._native = ReferenceEvaluator(proto, new_ops=[*implementations(), *own])
        except Exception as error:
            raise RunError(f"{label}: ONNX's reference evaluator does not load it: {error}" + at(caller())) from error
        for native in self._native.rt_nodes_:
            native.run = self._guarded(native.onnx_node.name, native.run)
        self.inputs = {info.name for info in proto.graph.input}
        self.outputs = [info.name for info in proto.graph.output]

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        """The outputs' values, in order.

        Raises:
            RunError: an operator fails, or is none that the evaluator knows.
        """
        with np.errstate(all="ignore"):
            found = self._native.run(None, {name: value for name, value in feeds.items() if name in self.inputs})
        return [_plain(value) for value in found]

    def _implementation(self, schema: Schema) -> type:
        """The evaluator's class for an operator: it calls the NumPy body with the node's own attributes."""
        from onnx.reference.op_run import OpRun

        def run(self_: Any, *inputs: Any, **_: Any) -> tuple[Any, ...]:
            return self._compute(self._node(self_.onnx_node.name), inputs)

        return type(schema.name, (OpRun,), {"op_domain": schema.domain, "op_schema": None, "_run": run})

    def _compute(self, node: Node, inputs: Sequence[Any]) -> tuple[Any, ...]:
        schema, what = node.schema, f"{self._label}: the NumPy body of {node.schema.label}"
        assert schema.numpy is not None
        try:
            returned = schema.numpy(*inputs, **node.attributes)
        except Exception as error:
            raise RunError(f"{what} failed: {type(error).__name__}: {error}" + at(node.site)) from error
        items = returned if isinstance(returned, tuple) else (returned,)
        if len(items) != len(node.outputs):
            raise RunError(f"{what} returned {len(items)} values, not {len(node.outputs)}" + at(node.site))
        return tuple(self._fitting(item, node, index) for index, item in enumerate(items))

    def _fitting(self, item: Any, node: Node, index: int) -> Any:
        """What a NumPy body returned, if it is of the type that the type rule says."""
        kind = node.outputs[index].type
        if not isinstance(kind, TensorType):
            return item
        array = np.asarray(item)
        sizes = kind.shape if kind.shape is not None else array.shape
        fits = len(sizes) == array.ndim and all(
            not isinstance(want, int) or want == size for want, size in zip(sizes, array.shape, strict=False)
        )
        if not fits or (array.dtype.kind not in "OUS" and as_dtype(array.dtype) is not kind.dtype):
            got = f"{array.dtype.name}{list(array.shape)}"
            raise RunError(
                f"{self._label}: the NumPy body of {node.schema.label} returned {got} for output {index}, which is "
                f"{kind!r} by the type rule" + at(node.site)
            )
        return array

    def _node(self, name: str) -> Node:
        return self._nodes[int(name.rpartition("#")[2])]

    def _guarded(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """A node of the evaluator whose failure names the node and its line."""

        def guarded(*inputs: Any, **keywords: Any) -> Any:
            try:
                return run(*inputs, **keywords)
            except RunError:
                raise
            except Exception as error:
                node = self._node(name)
                said = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise RunError(
                    f"{self._label}: ONNX's reference evaluator failed in {node.schema.label}: {said}" + at(node.site)
                ) from error

        return guarded


def _plain(value: Any) -> Any:
    """A value as ONNX Runtime gives it: arrays also of rank 0, text as objects."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return array.astype(object) if array.dtype.kind in "US" else array
    return value
