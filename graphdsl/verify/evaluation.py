"""A model computed node by node, every value kept: in float64 (the truth that judging needs), or in its own dtypes.

What a node computes is what ONNX's reference evaluator computes for it, asked one node at a time and remembered by
operator and attributes, so that a model of another structure costs little. In float64, explicit casts are kept: a cast
to a narrower dtype rounds.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from .. import repetition, schemas
from ..errors import RunError
from ..ir import Graph, ModelData, Node, Value, constant_array
from ..schemas import Schema
from ..types import DType, TensorType, as_dtype, bfloat16, float16, float32, float64, to_proto
from .alone import computed, run_alone
from .undefined import draws_numbers, undefined

ACCUMULATING = frozenset(
    {
        *("AveragePool", "Conv", "ConvTranspose", "CumSum", "DFT", "Einsum", "Gemm", "GlobalAveragePool", "MatMul"),
        *("Mean", "ReduceL1", "ReduceMean", "ReduceSum", "ReduceSumSquare", "STFT", "Sum"),
    }
)
"""Operators that add up many products: the largest sum met on the way is found by computing on absolute values."""

STRUCTURAL = frozenset(
    {
        *("Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand", "Flatten", "Gather"),
        *("GatherElements", "GatherND", "Identity", "Pad", "Reshape", "ReverseSequence", "ScatterElements"),
        *("ScatterND", "Shape", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Trilu"),
        *("Unsqueeze", "Where"),
    }
)
"""Operators that compute no number: what they hand on has to stay the same to the bit."""

EXACT = STRUCTURAL | {
    *("Abs", "And", "ArgMax", "ArgMin", "Cast", "CastLike", "Ceil", "Clip", "Equal", "Floor", "Greater"),
    *("GreaterOrEqual", "Hardmax", "IsInf", "IsNaN", "Less", "LessOrEqual", "Max", "MaxPool", "Min", "Neg", "NonZero"),
    *("Not", "Or", "ReduceMax", "ReduceMin", "Relu", "Round", "Sign", "TopK", "Unique", "Xor", "GlobalMaxPool"),
}
"""Operators that round nothing but what they are for."""

ELEMENTARY = frozenset({"Add", "Sub", "Mul", "Div", "Sqrt", "Reciprocal"})
"""Operators whose results are their exact results, rounded once. All others may also err as if their inputs did."""


_STASHED = frozenset({"LayerNormalization", "GroupNormalization", "RMSNormalization"})
"""Operators that normalize in float32, whatever the dtype, unless their `stash_type` says otherwise."""

_SIZES = {"OneHot": (1,), "Range": (0, 1, 2), "Resize": (1, 2), "Upsample": (1,)}
"""Inputs of floats on which the shape of a result depends: with an error, that would be another one."""


class Undefined(RunError):
    """The standard does not define what a node does with its inputs."""


class DrawsNumbers(Undefined):
    """A node draws numbers at random."""


class Limits(NamedTuple):
    """The normal range of a float dtype, and the distance of 1 from the next number."""

    least: float
    most: float
    epsilon: float


@cache
def limits(dtype: DType) -> Limits:
    """The limits of a float dtype."""
    known: Any = ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]
    return Limits(float(known.smallest_normal), float(known.max), float(known.eps))


def stash(node: Node) -> DType | None:
    """The dtype in which an operator computes whatever that of its input is; None where it follows the input."""
    if node.op_type not in _STASHED or "stash_type" not in node.schema.attributes:
        return None
    return as_dtype(node.attributes.get("stash_type", float32.code))


class Computed:
    """Outputs in float64, and what happened on the way to them."""

    def __init__(self) -> None:
        self.outputs: list[Any] = []
        self.largest = 0.0
        """The largest finite float met, accumulations included."""
        self.strayed: str | None = None
        """What first left the normal range of its own dtype, if anything did."""
        self.lost = False
        """Whether float64 itself overflowed to infinity or underflowed, so that this is no truth."""
        self.infinite = False
        """Whether a constant of the model is infinite."""
        self.empty = False
        """Whether a tensor without elements was met."""
        self.operators: set[str] = set()
        """The operators that were computed, with their domains."""

    def measure(self, array: np.ndarray, dtype: DType, what: str) -> None:
        """Take note of the largest number, and of numbers outside the normal range of their dtype in a model."""
        if not array.size:
            self.empty = True
            return
        sizes = np.abs(array if array.dtype == np.float64 else array.astype(np.float64))
        largest = float(sizes.max())
        if not np.isfinite(largest):
            largest = float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))
        self.largest = max(self.largest, largest)
        known = limits(dtype)
        if self.strayed is None and (largest > known.most or bool(np.any((sizes < known.least) & (sizes > 0)))):
            self.strayed = f"{what} leaves the normal range of {dtype}"


class Evaluation(Computed):
    """The values of a model without local functions on one draw, and what happened on the way.

    Args:
        model: What is computed.
        feeds: An array for each input, by its name.
        wide: Compute floats in float64; else in the model's own dtypes.
        noise: A seed: each computed float gets an error of the size of a rounding in its dtype.

    Raises:
        Undefined: the standard does not define what happens, or (`DrawsNumbers`) leaves it to chance.
        Unknown: no evaluator knows an operator.
        RunError: an operator fails on these values.
    """

    def __init__(self, model: ModelData, feeds: Mapping[str, Any], *, wide: bool, noise: int | None = None) -> None:
        super().__init__()
        self.values: dict[Value, Any] = {}
        """Every value that was computed, those of bodies as their last round left them."""
        self.dtypes: dict[Value, DType | None] = {}
        """The dtypes that the values have in the model itself."""
        self._wide = wide
        self._imports = model.opset_imports
        self._noise = None if noise is None else np.random.default_rng(noise)
        self._flags: set[str] = set()
        self._vanished: set[Value] = set()
        """Values that hold a zero, or depend on one, that is none but for underflow."""
        for value in model.graph.inputs:
            self._set(value, feeds.get(value.name or "", value.default), None)
        with np.errstate(all="call", call=lambda kind, _: self._flags.add(kind)):
            self._graph(model.graph)
        self.outputs = [self._get(value) for _, value in model.graph.outputs]

    # Values

    def _get(self, value: Value | None) -> Any:
        if value is None:
            return None
        if value not in self.values:
            self._set(value, constant_array(value), None)
        return self.values[value]

    def _set(self, value: Value, given: Any, node: Node | None) -> None:
        dtype = value.type.dtype if isinstance(value.type, TensorType) else None
        if dtype is None and isinstance(given, np.ndarray) and given.dtype.kind not in "OUS":
            dtype = as_dtype(given.dtype)
            if self._wide and dtype is float64 and node is not None:
                before = [self.dtypes.get(v) for v in node.inputs if v is not None]
                dtype = next((d for d in before if _is_float(d)), dtype)
        self.dtypes[value] = dtype
        self.values[value] = given = self._widened(given)
        if dtype is not None and dtype.kind == "float" and isinstance(given, np.ndarray):
            self.measure(given, dtype, node.schema.label if node is not None else "an input")
            self.infinite |= _has(given, np.isinf) and constant_array(value) is not None

    def _widened(self, given: Any) -> Any:
        if isinstance(given, (list, tuple)):
            return [self._widened(item) for item in given]
        if not isinstance(given, (np.ndarray, np.generic)):
            return given
        array = np.asarray(given)
        if array.dtype.kind in "US":
            return array.astype(object)
        if self._wide and array.dtype.kind not in "biucO" and _is_float(as_dtype(array.dtype)):
            return array.astype(np.float64, copy=False)
        return array

    # Nodes

    def _graph(self, graph: Graph) -> None:
        for node in graph.nodes:
            inputs = [self._get(value) for value in node.inputs]
            self.operators.add(node.schema.label)
            if draws_numbers(node, inputs):
                raise DrawsNumbers(f"the numbers that {node.schema.name} draws")
            problem = undefined(node, inputs, self._target(node))
            if problem is not None:
                raise Undefined(problem)
            self._flags.clear()
            found = self._node(node, inputs)
            if self._wide:
                self._watch(node, inputs, found)
            for value, given in zip(node.outputs, found, strict=False):
                self._set(value, given, node)

    def _watch(self, node: Node, inputs: Sequence[Any], found: Sequence[Any]) -> None:
        """Take note of where float64 ends: an overflow to infinity, and infinities or NaN made of what underflowed."""
        spoilt = any(value in self._vanished for value in node.inputs if value is not None)
        tests = (np.isinf, np.isnan)
        if "overflow" in self._flags:  # whatever infinities and NaN were given
            self.lost |= any(_has(item, test) for item in found for test in tests)
        if spoilt:
            for test in tests:
                self.lost |= any(_has(item, test) for item in found) and not any(_has(item, test) for item in inputs)
        if "underflow" in self._flags or spoilt:
            self._vanished.update(node.outputs)
            if self.strayed is None and self._target(node) is float64:  # it may be 0 now, which looks like any other
                self.strayed = f"{node.schema.label} leaves the normal range of float64"

    def _target(self, node: Node) -> DType | None:
        """The dtype of a node's first output."""
        kind = node.outputs[0].type
        if isinstance(kind, TensorType):
            return kind.dtype
        if node.schema.name == "CastLike" and node.inputs[1] is not None:
            return self.dtypes[node.inputs[1]]
        return as_dtype(node.attributes["to"]) if "to" in node.attributes else None

    def _node(self, node: Node, inputs: list[Any]) -> Sequence[Any]:
        schema = node.schema
        if schema.numpy is not None:
            own = [self._own(item, value) for item, value in zip(inputs, node.inputs, strict=True)]
            returned = schema.numpy(*own, **node.attributes)
            return returned if isinstance(returned, tuple) else (returned,)
        if node.bodies and not schema.domain:
            return self._with_bodies(node, inputs)
        if self._wide and schema.name in ("Cast", "CastLike") and not schema.domain:
            return (self._cast(node, inputs),)
        given = inputs if not self._wide else [self._slot(node, index, item) for index, item in enumerate(inputs)]
        noisy = self._noise is not None and schema.name not in EXACT
        if noisy and schema.name not in ELEMENTARY:
            exact = _SIZES.get(schema.name, ())
            given = [
                item if index in exact else self._blurred(item, value)
                for index, (item, value) in enumerate(zip(given, node.inputs, strict=True))
            ]
        try:
            found = self._computed(schema, node.attributes, given, len(node.outputs))
        except RunError:
            own = [self._own(item, value) for item, value in zip(inputs, node.inputs, strict=True)]
            alone = run_alone(schema, node.attributes, own, len(node.outputs), self._version(schema))
            if alone is None:
                raise
            # in its own dtype, so with errors of some roundings of its largest number
            pairs = zip(map(self._widened, alone), node.outputs, strict=False)
            return [self._blurred(item, value, 4 * _largest(item)) for item, value in pairs]
        stashed = stash(node) if self._wide and self.strayed is None else None
        if stashed is not None and _largest(given[0]) > limits(stashed).most ** 0.5:
            self.strayed = f"a square in {node.schema.label} leaves the normal range of {stashed}"
        sums: Sequence[Any] = ()
        if self._wide and schema.name in ACCUMULATING and not schema.domain:
            sums = self._computed(schema, node.attributes, list(map(_sizes_of, given)), 1)
            if isinstance(sums[0], np.ndarray) and _is_float(self._target(node)):
                self.measure(sums[0], self._target(node) or float64, schema.label)
                sums = [sums[0] * max(1.0, terms(given, found[0]) ** 0.5 / 2)]
        if noisy:
            found = [
                self._blurred(item, value, sums[0] if index < len(sums) else None)
                for index, (item, value) in enumerate(zip(found, node.outputs, strict=False))
            ]
        return found

    def _blurred(self, given: Any, value: Value | None, size: np.ndarray | None = None) -> Any:
        """An array with an error in each element, of a rounding of the element or of numbers of other sizes."""
        if self._noise is None or not isinstance(given, np.ndarray) or given.dtype.kind != "f" or value is None:
            return given
        dtype = self.dtypes.get(value) or (value.type.dtype if isinstance(value.type, TensorType) else None)
        if not _is_float(dtype) or dtype is None:
            return given
        # a smaller error than these four would be rounded off again where the noise itself is added in float64
        error = limits(dtype).epsilon * (4 if dtype is float64 else 0.5) * self._noise.uniform(-1, 1, given.shape)
        return given + error * (given if size is None else size)

    def _computed(
        self, schema: Schema, attributes: Mapping[str, Any], given: Sequence[Any], count: int
    ) -> Sequence[Any]:
        return computed(schema, attributes, given, count, self._version(schema))

    def _version(self, schema: Schema) -> int:
        return self._imports.get(schema.domain, schema.version)

    def _own(self, item: Any, value: Value | None) -> Any:
        """A value in the dtype that it has in the model."""
        dtype = self.dtypes.get(value) if value is not None else None
        if not self._wide or dtype is None or not isinstance(item, np.ndarray) or item.dtype == dtype.numpy:
            return item
        return item.astype(dtype.numpy)

    def _slot(self, node: Node, index: int, item: Any) -> Any:
        """A value as the operator takes it: in its own dtype where the standard has no variant for float64."""
        if not isinstance(item, np.ndarray) or item.dtype != np.float64 or not node.schema.inputs:
            return item
        known = "tensor(double)" in node.schema.input(index).types
        return item if known else self._own(item, node.inputs[index])

    def _cast(self, node: Node, inputs: list[Any]) -> Any:
        """An explicit cast. Between floats it rounds where the target is the narrower one."""
        array, target = inputs[0], self._target(node)
        source = self.dtypes[node.inputs[0]] if node.inputs[0] is not None else None
        assert target is not None
        widens = target is source or target is float64 or (target is float32 and source in (float16, bfloat16))
        if _is_float(source) and widens:
            return array
        schema = schemas.lookup("", "Cast", self._imports.get("", schemas.DEFAULT_OPSET))
        attributes = {"to": target.code, **{k: v for k, v in node.attributes.items() if k != "to"}}
        return self._computed(schema, attributes, [array], 1)[0]

    # Bodies

    def _with_bodies(self, node: Node, inputs: list[Any]) -> Sequence[Any]:
        name, attributes = node.schema.name, node.attributes
        if name == "If":
            return self._body(attributes["then_branch" if bool(np.all(inputs[0])) else "else_branch"], ())
        rounds: dict[str, Callable[..., Any]] = {
            "Loop": repetition.Loop,
            "Scan": repetition.Scan,
            "SequenceMap": repetition.SequenceMap,
        }
        if name not in rounds:
            raise RunError(f"{node.schema.label} has a body that cannot be computed here")
        body: Graph = attributes["body"]
        names = [str(index) for index in range(len(body.inputs))]
        declared = [SimpleNamespace(type=to_proto(v.type)) if v.type is not None else None for _, v in body.outputs]
        adapter = SimpleNamespace(
            input_names=names,
            onnx_graph_=SimpleNamespace(output=declared),
            run=lambda _, feeds, **__: self._body(body, [feeds[name] for name in names]),
        )
        scanned = ("num_scan_inputs", "scan_input_axes", "scan_input_directions", "scan_output_axes")
        itself = SimpleNamespace(
            body=adapter,
            run_params={"opsets": {"": self._imports.get("", schemas.DEFAULT_OPSET)}},
            **{key: attributes.get(key) for key in (*scanned, "scan_output_directions")},
        )
        found: Sequence[Any] = rounds[name](itself, *inputs)
        return found

    def _body(self, body: Graph, given: Sequence[Any]) -> list[Any]:
        for value, item in zip(body.inputs, given, strict=True):
            self._set(value, item, None)
        for node in body.nodes:
            for made in node.outputs:
                self.values.pop(made, None)
        self._graph(body)
        return [self._get(value) for _, value in body.outputs]


def _is_float(dtype: DType | None) -> bool:
    return dtype is not None and dtype.kind == "float"


def _sizes_of(item: Any) -> Any:
    """The sizes of floats, but for infinities and NaN, beside which finite numbers may overflow all the same."""
    if not isinstance(item, np.ndarray) or item.dtype.kind != "f":
        return item
    return np.where(np.isfinite(item), np.abs(item), 0.0)


def _largest(item: Any) -> Any:
    """The largest number of an array of floats; 0 of anything else."""
    return np.max(_sizes_of(item), initial=0.0) if isinstance(item, np.ndarray) and item.dtype.kind == "f" else 0.0


def _has(item: Any, test: Callable[[np.ndarray], Any]) -> bool:
    return isinstance(item, np.ndarray) and item.dtype.kind == "f" and bool(np.any(test(item)))


def terms(given: Sequence[Any], found: Any) -> float:
    """About how many numbers are added up for one element of a result."""
    sizes = [item.size for item in given if isinstance(item, np.ndarray) and item.size]
    size: int = max(1, found.size if isinstance(found, np.ndarray) else 1)
    if len(sizes) < 2:
        return max(1.0, sizes[0] / size) if sizes else 1.0
    return float(max(1.0, sizes[0] * sizes[1] / size) ** 0.5)
