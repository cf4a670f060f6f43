"""What changed in ONNX's operators from opset to opset, where it is more than other types and new optional parts.

`RULES` holds, for an operator and the opset at which it changed, how a call of before is written after. What is neither
there nor in `FEWER_TYPES` means the same after the change: it takes more types, or has attributes and inputs more that
may be left out (tests/test_conversion.py asks the schemas). All changes up to opset `REVIEWED` have been read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import onnx

from .. import schemas
from ..ir import Node, Opaque, Reference, Value, constant_array
from ..tensor import Tensor
from ..tensor.calling import current_trace
from ..tensor.lifting import shared
from ..types import TensorType

REVIEWED = 28
"""The newest opset whose changes are known here."""


class Refusal(Exception):
    """A call that cannot be written at the opset wanted; the message is the reason."""


@dataclass(frozen=True)
class Call:
    """A call of an operator on its way to another opset: it means what the operator means at `version`."""

    node: Node
    """The node that it was."""
    target: int
    """The opset wanted."""
    name: str
    version: int
    inputs: tuple[Value | None, ...]
    attributes: Any
    count: int
    """How many outputs it has."""
    used: int
    """How many of them are needed: those up to the last one that anything uses."""

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute's value, which must be known.

        Raises:
            Refusal: it is an attribute of the function around it, and known only where that is called.
        """
        value = self.attributes.get(attribute, default)
        if isinstance(value, Reference):
            raise Refusal(f"its attribute {attribute!r} is the function's own {value.name!r}; write gd.inline first")
        if isinstance(value, Opaque):  # an empty list, which has no kind in Python
            if value.proto.type not in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
                raise Refusal(f"its attribute {attribute!r} holds nothing that can be read")
            return ()
        return value

    def without(self, *attributes: str) -> "Call":
        """The call without some attributes."""
        return replace(self, attributes={k: v for k, v in self.attributes.items() if k not in attributes})

    def having(self, **attributes: Any) -> "Call":
        """The call with some attributes."""
        return replace(self, attributes={**self.attributes, **attributes})

    def taking(self, index: int, array: np.ndarray) -> "Call":
        """The call with a constant as its input `index`."""
        inputs = [*self.inputs, *[None] * (index + 1 - len(self.inputs))]
        inputs[index] = shared(array, self.node.site)
        return replace(self, inputs=tuple(inputs))

    def kind(self, index: int, need: str) -> TensorType:
        """The type of an input, of known dtype.

        Raises:
            Refusal: it is not known.
        """
        value = self.inputs[index]
        found = None if value is None else value.type
        if not isinstance(found, TensorType):
            raise Refusal(f"{need} of its input {index} must be known" + _INSIDE)
        return found

    def rank(self, index: int) -> int:
        """The rank of an input.

        Raises:
            Refusal: it is not known.
        """
        shape = self.kind(index, "the rank").shape
        if shape is None:
            raise Refusal(f"the rank of its input {index} must be known" + _INSIDE)
        return len(shape)

    def emit(self, name: str, *inputs: Value | None, **attributes: Any) -> Value:
        """A node of the target opset, made where this one was."""
        schema = schemas.lookup("", name, self.target)
        handles = [None if value is None else Tensor(value) for value in inputs]
        return current_trace().call(schema, handles, attributes, 1, self.node.site)[0]

    def constant(self, array: Any) -> Value:
        """A constant."""
        return shared(np.asarray(array), self.node.site)


_INSIDE = "; in a function it is known only where that is called: write gd.inline first"

Rule = Callable[[Call], Call | Sequence[Value]]
"""The call as the next version of the operator has it, or the values that do the same at the target opset."""


def _refuse(reason: str) -> Rule:
    def rule(call: Call) -> NoReturn:
        raise Refusal(reason)

    return rule


def _drop(*attributes: str) -> Rule:
    """Attributes that say nothing about what is computed."""
    return lambda call: call.without(*attributes)


def _first(*rules: Rule) -> Rule:
    """One rule after the other."""

    def rule(call: Call) -> Call | Sequence[Value]:
        for each in rules:
            found = each(call)
            if not isinstance(found, Call):
                return found
            call = found
        return call

    return rule


def _integers(attribute: str, index: int = 1) -> Rule:
    """A list of integers that became an input."""

    def rule(call: Call) -> Call:
        value = call.get(attribute)
        made = call.without(attribute)
        if value is None:
            return made
        return made.taking(index, np.array(value, np.int64))

    return rule


def _make_default_explicit(**defaults: Any) -> Rule:
    """Attributes whose default changed."""
    return lambda call: call.having(**{**defaults, **call.attributes})


# One operator each


def _normalise_rows(call: Call) -> Call | Sequence[Value]:
    """Softmax and its kind worked on the matrix that the axis makes of the tensor; now they work along the axis."""
    axis = call.get("axis", 1)
    value = call.inputs[0]
    shape = value.type.shape if value is not None and isinstance(value.type, TensorType) else None
    if shape is not None and axis % max(len(shape), 1) == len(shape) - 1:
        return call.having(axis=-1)
    flat = call.emit("Flatten", value, axis=axis)
    rows = call.emit(call.name, flat, axis=-1)
    zeros = {"allowzero": 1} if call.target >= 14 else {}
    return [call.emit("Reshape", rows, call.emit("Shape", value), **zeros)]


def _broadcast(call: Call) -> Call:
    """Before opset 7, `axis` said where the second input lies in the first."""
    axis = call.get("axis")
    made = call.without("broadcast", "axis")
    if not call.get("broadcast", 0) or axis is None:
        return made
    left, right = call.rank(0), call.rank(1)
    behind = left - axis % left - right if right else 0
    if behind <= 0:
        return made
    return replace(made, inputs=(call.inputs[0], _unsqueezed(call, 1, list(range(right, right + behind)))))


def _unsqueezed(call: Call, index: int, axes: list[int]) -> Value:
    if call.target >= 13:
        return call.emit("Unsqueeze", call.inputs[index], call.constant(np.array(axes, np.int64)))
    return call.emit("Unsqueeze", call.inputs[index], axes=tuple(axes))


def _slope_by_channel(call: Call) -> Call:
    slope = call.kind(1, "the shape")
    if slope.shape is None or len(slope.shape) != 1 or not isinstance(slope.shape[0], int):
        raise Refusal("its slope must be a vector of known size")
    behind = call.rank(0) - 2
    if slope.shape[0] == 1 or behind <= 0:
        return call
    return replace(call, inputs=(call.inputs[0], _unsqueezed(call, 1, list(range(1, behind + 1)))))


def _bounds(call: Call) -> Call:
    """Clip's limits became inputs, of the dtype of what is clipped."""
    made = call.without("min", "max")
    for index, attribute in ((1, "min"), (2, "max")):
        if (bound := call.get(attribute)) is not None:
            dtype = call.kind(0, "the dtype").dtype
            with np.errstate(over="ignore"):
                made = made.taking(index, np.array(bound, dtype.numpy))
    return made


def _padding(call: Call) -> Call:
    made = call.without("pads", "value").taking(1, np.array(call.get("pads"), np.int64))
    value = call.get("value", 0.0)
    if not value or call.get("mode", "constant") != "constant":
        return made
    return made.taking(2, np.array(value, call.kind(0, "the dtype").dtype.numpy))


def _slicing(call: Call) -> Call:
    return _first(_integers("starts", 1), _integers("ends", 2), _integers("axes", 3))(call)  # type: ignore[return-value]


def _upsampling(call: Call) -> Call:
    """Upsample lives on in Resize, which from opset 11 on must be told how coordinates are found."""
    made = replace(call, name="Resize", version=10).having(mode=call.get("mode", "nearest"))
    return _coordinates(made, nearest="floor") if call.target >= 11 else made


def _coordinates(call: Call, nearest: str | None = None) -> Call:
    """What ONNX Runtime's Resize of opset 10 does, which the text leaves open: pixel 0 stays at 0, none is rounded up
    when an image grows, and none down when it shrinks."""
    attributes = {"coordinate_transformation_mode": "asymmetric"}
    if call.get("mode", "nearest") == "nearest":
        attributes["nearest_mode"] = nearest or _rounding(call)
    roi = None if call.target >= 13 else call.constant(np.zeros(0, np.float32))
    made = replace(call, version=11, inputs=(call.inputs[0], roi, call.inputs[1]))
    return made.having(mode=call.get("mode", "nearest"), **attributes)


def _rounding(call: Call) -> str:
    scales = constant_array(call.inputs[1])
    if scales is None:
        raise Refusal("its scales are known only when it runs, and whether they enlarge or shrink decides on rounding")
    if (scales >= 1).all():
        return "floor"
    if (scales <= 1).all():
        return "ceil"
    raise Refusal("it enlarges along one axis and shrinks along another, which no rounding of opset 11 does")


def _statistics(call: Call) -> Call:
    """BatchNormalization's further outputs, which only training has, became others."""
    if call.count > 1:
        raise Refusal("it is trained: its further outputs are not those that opset 14 has")
    return call


def _tested(call: Call) -> Call:
    if not call.get("is_test", 0):
        raise Refusal("it is in training mode (is_test=0), which opset 7 leaves out; set is_test=1 to use it")
    return call.without("is_test")


def _per_channel(call: Call) -> Call:
    if not call.get("spatial", 1):
        raise Refusal("it normalises each place by itself (spatial=0), which opset 9 leaves out")
    return call.without("spatial")


def _mask(call: Call) -> Call:
    """Dropout's mask became one of bools; few models use it, though many name it."""
    if call.used > 1:
        raise Refusal("its mask is a float tensor, and from opset 10 on one of bools")
    return replace(call, count=1)


def _ratio(call: Call) -> Call:
    ratio = call.get("ratio")
    made = call.without("ratio")
    return made if ratio is None else made.taking(1, np.array(ratio, np.float32))


def _parts(call: Call) -> Call:
    """Split says how many parts there are, unless it is given their sizes."""
    sized = len(call.inputs) > 1 and call.inputs[1] is not None
    return call if sized else call.having(num_outputs=call.count)


def _group_scales(call: Call) -> Call:
    """GroupNormalization had a scale for each group; now it has one for each channel, and computes in float32."""
    kind = call.kind(0, "the type")
    channels = kind.shape[1] if kind.shape is not None and len(kind.shape) > 1 else None
    groups = call.get("num_groups")
    if not isinstance(channels, int):
        raise Refusal("the number of its channels must be known")
    inputs = [call.inputs[0]]
    for value in call.inputs[1:]:
        column = call.emit("Reshape", value, call.constant(np.array([groups, 1], np.int64)))
        table = call.emit("Expand", column, call.constant(np.array([groups, channels // groups], np.int64)))
        inputs.append(call.emit("Reshape", table, call.constant(np.array([channels], np.int64))))
    return replace(call, inputs=tuple(inputs)).having(stash_type=kind.dtype.code)


def _named_dtype(call: Call) -> Call:
    name = str(call.get("to"))
    try:
        return call.having(to=onnx.TensorProto.DataType.Value(name.upper()))
    except ValueError:
        raise Refusal(f"it casts to {name!r}, which is no dtype") from None


def _whole(call: Call) -> Call:
    p = call.get("p", 2.0)
    if int(p) != p:
        raise Refusal(f"its p is {p}, and from opset 2 on p is a whole number")
    return call.having(p=int(p))


def _image_scales(call: Call) -> Call:
    scales = (1.0, 1.0, call.get("height_scale"), call.get("width_scale"))
    return call.without("height_scale", "width_scale").having(scales=scales)


def _scales(call: Call) -> Call:
    return call.without("scales").taking(1, np.array(call.get("scales"), np.float32))


def _sizes_once(call: Call) -> Call:
    if len(call.inputs) > 1 and call.inputs[1] is not None:
        sizes = constant_array(call.inputs[1])
        if sizes is None:
            raise Refusal("the sizes of its parts are known only when it runs, and opset 2 wants them as an attribute")
        call = replace(call, inputs=call.inputs[:1]).having(split=tuple(int(size) for size in sizes))
    return call if "axis" in call.attributes else call.having(axis=0)


def _axis_input(call: Call) -> Call:
    return call.without("axis").taking(2, np.array(call.get("axis", 1), np.int64))


_GRID_MODES = {"bilinear": "linear", "bicubic": "cubic"}


def _grid_mode(call: Call) -> Call:
    mode = call.get("mode", "bilinear")
    return call.having(mode=_GRID_MODES.get(mode, mode))


_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    "ReduceSumSquare",
)
_CONSUMING = (
    *("Abs", "Add", "BatchNormalization", "Ceil", "Clip", "Div", "Dropout", "Elu", "Exp", "Floor", "HardSigmoid"),
    *("InstanceNormalization", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "PRelu", "Reciprocal", "Relu"),
    *("Selu", "Sigmoid", "Sqrt", "Sub", "Sum", "Tanh"),
)

RULES: dict[tuple[str, int], Rule] = {
    **{(name, 6): _drop("consumed_inputs") for name in _CONSUMING},
    ("Selu", 6): _first(
        _drop("consumed_inputs"), _make_default_explicit(alpha=1.673200011253357, gamma=1.0506999492645264)
    ),
    **{(name, 7): _broadcast for name in ("Add", "Sub", "Mul", "Div")},
    **{(name, 7): _broadcast for name in ("And", "Or", "Xor", "Equal", "Greater", "Less", "Pow")},
    **{(name, 7): _drop("output_sequence") for name in ("GRU", "LSTM", "RNN")},
    **{(name, 13): _normalise_rows for name in ("Softmax", "LogSoftmax", "Hardmax")},
    **{(name, 13): _integers("axes") for name in ("Squeeze", "Unsqueeze", "ReduceSum")},
    **{(name, 18): _integers("axes") for name in _REDUCTIONS},
    ("BatchNormalization", 7): _tested,
    ("BatchNormalization", 9): _per_channel,
    ("BatchNormalization", 14): _statistics,
    ("Cast", 6): _named_dtype,
    ("Clip", 11): _bounds,
    ("Concat", 4): _make_default_explicit(axis=1),
    ("DFT", 20): _axis_input,
    ("Dropout", 7): _tested,
    ("Dropout", 10): _mask,
    ("Dropout", 12): _ratio,
    ("GRU", 3): _make_default_explicit(direction="forward"),
    ("Gemm", 7): _drop("broadcast"),
    ("GlobalLpPool", 2): _whole,
    ("GridSample", 20): _grid_mode,
    ("GroupNormalization", 21): _group_scales,
    ("LpPool", 2): _whole,
    ("PRelu", 7): _slope_by_channel,
    ("Pad", 2): lambda call: call.without("paddings").having(pads=call.get("paddings")),
    ("Pad", 11): _padding,
    ("Reshape", 5): _first(_drop("consumed_inputs"), _integers("shape")),
    ("Resize", 11): _coordinates,
    ("RoiAlign", 16): _make_default_explicit(coordinate_transformation_mode="output_half_pixel"),
    ("Scan", 9): _refuse("its first axis is the batch at opset 8, and from opset 9 on there is none"),
    ("Scatter", 11): lambda call: replace(call, name="ScatterElements", version=11),
    ("Slice", 10): _slicing,
    ("Split", 2): _sizes_once,
    ("Split", 13): _integers("split"),
    ("Split", 18): _parts,
    ("Tile", 6): _refuse("at opset 1 it repeats along one axis that is known only when it runs"),
    ("TopK", 10): lambda call: call.without("k").taking(1, np.array([call.get("k")], np.int64)),
    ("Upsample", 7): _image_scales,
    ("Upsample", 9): _scales,
    ("Upsample", 10): _upsampling,
}
"""What to do at a change of an operator."""

FEWER_TYPES = frozenset({("Erf", 13), ("ReduceLogSum", 28), ("ReduceLogSumExp", 28)})
"""Changes that took types away."""

ONE_WAY = 11
"""Up to this opset, operators came to take more than their schemas say: negative axes and indices, broadcasting."""

WIDER = frozenset({("Mod", 28)})
"""Later changes of that kind: floats with `fmod=0`."""
