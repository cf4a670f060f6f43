"""The values that inputs of operators may take where not all of their dtype do: indices, axes, sizes, divisors, scales.

`DEMANDS` is the one table of them. It serves `verify.feeds`, which follows a model's inputs to the operators that use
them, and `verify.models`, which makes constants for such inputs.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..dims import Dim
from ..ir import Graph, Input, ModelData, Node
from ..types import DType, TensorType, Type, as_dtype
from ..walk import graphs
from .arrays import Range, limits
from .sources import Sources

Sizes = Mapping[str, int]

_SMALL = 4
"""The largest size, repetition or number of rounds that an input may ask for."""


class Use(NamedTuple):
    """The use of a value as one input of an operator: what a demand looks at."""

    operator: str
    types: tuple[Type | None, ...]
    """The types of the inputs."""
    attributes: Mapping[str, Any]
    sizes: Sizes
    """The sizes of named dimensions."""
    place: int
    """Which input it is."""

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of an input; sizes that are not known count as 1, and none where the rank is not."""
        kind = self.types[index] if index < len(self.types) else None
        if not isinstance(kind, TensorType) or kind.shape is None:
            return ()
        return tuple(_size(dim, self.sizes) for dim in kind.shape)

    def dtype(self, index: int) -> DType | None:
        """The dtype of an input, if it is a tensor."""
        kind = self.types[index] if index < len(self.types) else None
        return kind.dtype if isinstance(kind, TensorType) else None


def _size(dim: Any, sizes: Sizes) -> int:
    if isinstance(dim, Dim):
        try:
            dim = dim.substitute(sizes)
        except ZeroDivisionError:
            return 1
    return dim if isinstance(dim, int) else 1


Demand = Callable[[Use], Range | None]


def within(
    low: float | None = None, high: float | None = None, *, nonzero: bool = False, distinct: bool = False
) -> Demand:
    """The demand for a range that is always the same."""
    found = Range(low, high, nonzero, distinct)
    return lambda use: found


def _indices(axis: Any = 0) -> Demand:
    """Indices into an axis of the first input, which may count from the end."""

    def demand(use: Use) -> Range:
        size = _along(use, use.attributes.get("axis", axis))
        return Range(-size, size - 1)

    return demand


def _along(use: Use, axis: int) -> int:
    """The size of an axis of the first input: 1 where it is not known, and where it is 0, which no index fits."""
    shape = use.shape(0)
    return max(shape[axis] if -len(shape) <= axis < len(shape) else 1, 1)


def _coordinates(use: Use) -> Range:
    """Indices into the first axes of the first input, of which the shortest bounds all."""
    depth = (use.shape(1) or (1,))[-1]
    first = use.attributes.get("batch_dims", 0)
    size = max(min(use.shape(0)[first : first + depth], default=1), 1)
    return Range(-size, size - 1)


def _written(use: Use) -> Range:
    """Indices along an axis of what is written; none twice, where that would leave open what stays there."""
    rank, axis = len(use.shape(0)), use.attributes.get("axis", 0)
    size = _along(use, axis)
    apart = not _reduces(use) and -rank <= axis < rank
    return Range(-size, size - 1, line=axis % rank if apart else None)


def _written_places(use: Use) -> Range:
    """Places in the first axes of what is written; none twice, where that would leave open what stays there."""
    sizes = use.shape(0)[: (use.shape(1) or (1,))[-1]]
    if _reduces(use) or not all(sizes):
        return _coordinates(use)
    return Range(-min(sizes, default=1), max(sizes, default=1) - 1, grid=sizes)


def _reduces(use: Use) -> bool:
    """Whether what is written twice to one place is combined."""
    return use.attributes.get("reduction", "none") not in ("none", b"none")


def _first_written(use: Use) -> Range:
    """The places from which on a slice is written along an axis of a cache, which holds all of it."""
    cache, update = use.shape(0), use.shape(1)
    axis = use.attributes.get("axis", -2)
    fits = -len(cache) <= axis < len(cache) and len(cache) == len(update)
    return Range(0, max(cache[axis] - update[axis], 0) if fits else 0)


def _classes(use: Use) -> Range:
    shape = use.shape(0)
    return Range(0, max(shape[1] if len(shape) > 1 else 1, 1) - 1)


def _axes(extra: int = 0) -> Demand:
    """Axes of the first input, each once; with one more for each that is to come, where they are put in."""

    def demand(use: Use) -> Range:
        count = (use.shape(use.place) or (1,))[0] if extra else 0
        return Range(0, max(len(use.shape(0)) + count, 1) - 1, distinct=True)

    return demand


def _axis(use: Use) -> Range:
    rank = max(len(use.shape(0)), 1)
    return Range(-rank, rank - 1)


def _steps(axis: int) -> Demand:
    """Lengths along an axis of the first input, at least 1."""
    return lambda use: Range(1, max((use.shape(0) or (1,))[axis] if len(use.shape(0)) > axis else 1, 1))


def _top(use: Use) -> Range:
    return Range(0, _along(use, use.attributes.get("axis", -1)))


def _expandable(use: Use) -> Range:
    """Sizes that a tensor can be expanded to: anything where all its sizes are 1, else 1, which leaves them."""
    return Range(1, _SMALL if all(size == 1 for size in use.shape(0)) else 1)


def _divisor(use: Use) -> Range | None:
    return Range(nonzero=True) if _is_integer(use.dtype(1)) else None


def _dividend(use: Use) -> Range | None:
    """Not the least integer, of which the quotient by -1 is none."""
    dtype = use.dtype(0)
    return Range(low=int(limits(dtype).min) + 1) if dtype is not None and dtype.kind == "int" else None


def _exponent(use: Use) -> Range | None:
    return Range(0, 8) if _is_integer(use.dtype(0)) else None


def _shift(use: Use) -> Range:
    dtype = use.dtype(0)
    return Range(0, (dtype.bits if dtype is not None else 8) - 1)


def _castable(use: Use) -> Range | None:
    """Floats that the dtype that is cast to holds: what others become is for nobody to say. Integers wrap."""
    source = use.dtype(0)
    return _kept(use) if source is not None and source.kind == "float" else None


def _kept(use: Use) -> Range | None:
    """Numbers that the dtype that is cast to holds, so that the result is the same number."""
    target = use.dtype(1) if use.operator == "CastLike" else use.attributes.get("to")
    source = use.dtype(0)
    return None if target is None or source is None else holds(as_dtype(target), source)


def holds(target: DType, source: DType) -> Range | None:
    """The numbers of one dtype that an integer dtype holds; None where it holds all, or is no integer dtype."""
    if target.kind not in ("int", "uint") or source.kind not in ("float", "int", "uint"):
        return None
    ends = limits(target)
    low, high = int(ends.min), int(ends.max)
    if source.kind == "float":
        # a float that is rounded to the end of the range may lie beyond it
        return Range(float(low), float(high) if high < 2**8 else float(high) * (1 - 2.0**-8))
    own = limits(source)
    return (
        None if low <= int(own.min) and int(own.max) <= high else Range(max(low, int(own.min)), min(high, int(own.max)))
    )


def _is_integer(dtype: DType | None) -> bool:
    return dtype is not None and dtype.kind in ("int", "uint")


_SCALE = within(2.0**-4, 8)
_SIZE = within(1, _SMALL)
_LENGTHS: dict[str, Demand] = {"sequence_lens": lambda use: _steps(use.attributes.get("layout", 0))(use)}

DEMANDS: dict[str, dict[str, Demand]] = {
    "AffineGrid": {"size": _SIZE},
    "BatchNormalization": {"var": within(0, 16), "input_var": within(0, 16)},
    "Bernoulli": {"input": within(0, 1)},
    "BitShift": {"Y": _shift},
    "BlackmanWindow": {"size": _SIZE},
    "Cast": {"input": _castable},
    "CastLike": {"input": _castable},
    "CenterCropPad": {"shape": _SIZE},
    "ConstantOfShape": {"input": within(0, _SMALL)},
    "CumProd": {"axis": _axis},
    "CumSum": {"axis": _axis},
    "DFT": {"dft_length": within(1, 8), "axis": within(-2, -2)},
    "DequantizeLinear": {"x_scale": _SCALE},
    "Div": {"A": _dividend, "B": _divisor},
    "Dropout": {"ratio": within(0, 0.75)},
    "DynamicQuantizeLinear": {"x": within(-1000, 1000)},
    "Expand": {"shape": _expandable},
    "Gather": {"indices": _indices()},
    "GatherElements": {"indices": _indices()},
    "GatherND": {"indices": _coordinates},
    "GRU": _LENGTHS,
    "GridSample": {"grid": within(-2, 2)},
    "HammingWindow": {"size": _SIZE},
    "HannWindow": {"size": _SIZE},
    "LSTM": _LENGTHS,
    "Loop": {"M": within(0, _SMALL)},
    "MatMulInteger": {},
    "MelWeightMatrix": {
        "num_mel_bins": within(1, 4),
        "dft_length": within(16, 32),
        "sample_rate": within(64, 128),
        "lower_edge_hertz": within(0, 4),
        "upper_edge_hertz": within(16, 32),
    },
    "Mod": {"A": _dividend, "B": _divisor},
    "NegativeLogLikelihoodLoss": {"target": _classes},
    "NonMaxSuppression": {"max_output_boxes_per_class": within(0, _SMALL)},
    "OneHot": {"depth": within(1, _SMALL)},
    "Pad": {"pads": within(0, 2)},
    "Pow": {"Y": _exponent},
    "QLinearConv": {"x_scale": _SCALE, "w_scale": _SCALE, "y_scale": _SCALE},
    "QLinearMatMul": {"a_scale": _SCALE, "b_scale": _SCALE, "y_scale": _SCALE},
    "QuantizeLinear": {"y_scale": _SCALE},
    "RNN": _LENGTHS,
    "Range": {"start": within(-8, 8), "limit": within(-8, 8), "delta": within(1, 3)},
    "Reshape": {"shape": within(-1, -1)},
    "Resize": {"scales": within(1, 2), "sizes": _SIZE},
    "ReverseSequence": {"sequence_lens": lambda use: _steps(use.attributes.get("time_axis", 0))(use)},
    "RoiAlign": {"rois": within(0, 4), "batch_indices": lambda use: Range(0, _along(use, 0) - 1)},
    "STFT": {"frame_step": within(1, 4), "frame_length": within(1, 4)},
    "Scatter": {"indices": _written},
    "ScatterElements": {"indices": _written},
    "ScatterND": {"indices": _written_places},
    "SequenceAt": {"position": within(0, 0)},
    "SequenceErase": {"position": within(0, 0)},
    "SequenceInsert": {"position": within(0, 0)},
    "Slice": {"starts": within(-6, 6), "ends": within(-6, 6), "axes": _axes(), "steps": within(-2, 2, nonzero=True)},
    "SoftmaxCrossEntropyLoss": {"labels": _classes},
    "TensorScatter": {"write_indices": _first_written},
    "Tile": {"repeats": within(0, 2)},
    "TopK": {"K": _top},
    "Trilu": {"k": within(-_SMALL, _SMALL)},
    "Unsqueeze": {"axes": _axes(extra=1)},
    "Upsample": {"scales": within(1, 2)},
    **{
        name: {"axes": _axes()}
        for name in (
            *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
            *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
        )
    },
}
"""What operators demand of inputs by name; each demand tells the range of one use."""


def demand_of(operator: str, name: str) -> Demand | None:
    """What an operator of the default domain demands of an input."""
    return DEMANDS.get(operator, {}).get(name)


class Demanded(NamedTuple):
    """That an input of a model is used where not all values will do."""

    node: Node
    place: int
    demand: Demand
    moved: bool = False
    """Whether its elements stand elsewhere there than in the input."""

    def range(self, sizes: Sizes) -> Range | None:
        """The values that it may have, when named dimensions have these sizes."""
        types = tuple(value.type if value is not None else None for value in self.node.inputs)
        found = self.demand(Use(self.node.op_type, types, self.node.attributes, sizes, self.place))
        return found.alone if found is not None and self.moved else found


def demands(model: ModelData) -> dict[Input, list[Demanded]]:
    """For each input of a model, the uses that bound its values: direct ones, and through what only moves elements."""
    found: dict[Input, list[Demanded]] = {}
    sources = Sources(model)
    for graph in graphs(model.graph):
        for node in graph.nodes:
            known = DEMANDS.get(node.op_type) if not node.domain else None
            for index, value in enumerate(node.inputs if known else ()):
                demand = known.get(node.schema.input(index).name) if known is not None else None
                if demand is not None and value is not None:
                    inputs, casts = sources.of(value)
                    for source in inputs:
                        moved = source is not value
                        use = Demanded(node, index, demand, moved)
                        kept = [Demanded(cast, 0, _kept_for(use), True) for cast in casts]
                        found.setdefault(source, []).extend([use, *kept])
    return found


def _kept_for(use: Demanded) -> Demand:
    """The demand on what is cast for a use: that its numbers are kept, if not all numbers will do there."""
    return lambda cast: _kept(cast) if use.range(cast.sizes) is not None else None


def meet(one: Range, other: Range) -> Range:
    """The values that two ranges share."""
    lows = [x for x in (one.low, other.low) if x is not None]
    highs = [x for x in (one.high, other.high) if x is not None]
    return Range(
        max(lows, default=None),
        min(highs, default=None),
        one.nonzero or other.nonzero,
        one.distinct or other.distinct,
        one.line if one.line is not None else other.line,
        one.grid or other.grid,
    )


def dimensions(model: ModelData) -> list[Dim]:
    """The sizes of a model's values that are computed from named ones, and may be negative where those are small."""
    found: dict[Dim, None] = {}
    for graph in graphs(model.graph):
        for kind in _types(graph):
            if isinstance(kind, TensorType):
                found.update({dim: None for dim in kind.shape or () if isinstance(dim, Dim) and not dim.is_symbol})
    return list(found)


def _types(graph: Graph) -> list[Type | None]:
    return [
        *(value.type for value in graph.inputs),
        *(value.type for node in graph.nodes for value in node.outputs),
    ]
