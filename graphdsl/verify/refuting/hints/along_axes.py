"""Hints for what computes along axes: reductions, scans, normalisations, losses, orders, and scales of quantization."""

import math

import numpy as np

from ..calls import Call, Hint, axes_of, axis_of, image_of

_EPSILONS = (1e-5, 1e-3, 0.1)


def _channelwise(call: Call) -> None:
    plain = call.schema.name == "BatchNormalization" and len(call.base) >= 2
    image = call.shape() if plain else image_of(call)
    channels = image[1] if len(image) > 1 else 1
    call.form((channels,), *[parameter.name for parameter in call.schema.inputs[1:]])
    call.attribute("epsilon", lambda: call.choices.pick(_EPSILONS))
    call.attribute("momentum", lambda: call.choices.pick([0.9, 0.5]))
    if call.count < 3 and "training_mode" in call.schema.attributes:  # with which there are three outputs
        call.attribute("training_mode", lambda: 0)


def _in_groups(call: Call) -> None:
    choices, image = call.choices, image_of(call)
    channels = image[1] if len(image) > 1 else 1
    options = [count for count in (1, 2, channels) if channels % count == 0]
    groups = call.attribute("num_groups", lambda: choices.pick(options)) or 1
    call.form((groups if call.version < 21 else channels,), "scale", "bias")
    call.attribute("epsilon", lambda: choices.pick(_EPSILONS))


def _normalised(call: Call) -> None:
    shape = call.shape()
    axis = call.attribute("axis", lambda: axis_of(call, len(shape)))
    tail = shape[axis if axis is not None else -1 :]
    for index in range(1, len(call.shapes)):
        if call.dtypes[index] is not None:
            call.shape(index, tail)
    call.attribute("epsilon", lambda: call.choices.pick(_EPSILONS))


def _along_axis(call: Call) -> None:
    rank = len(call.shape())
    call.attribute("axis", lambda: axis_of(call, rank))


def _reduce(call: Call) -> None:
    choices, shape = call.choices, call.shape()
    call.attribute("keepdims", lambda: choices.below(2))
    call.attribute("noop_with_empty_axes", lambda: choices.below(2))
    call.attribute("axis", lambda: axis_of(call, len(shape)))
    call.attribute("select_last_index", lambda: choices.below(2))
    call.setting("axes", lambda: axes_of(call, len(shape)))


def _cumulative(call: Call) -> None:
    shape = call.shape(0, call.base or (3,))
    call.content("axis", axis_of(call, len(shape)))
    for name in ("exclusive", "reverse"):
        call.attribute(name, lambda: call.choices.below(2))


def _topk(call: Call) -> None:
    choices, shape = call.choices, call.shape(0, call.base or (3,))
    axis = call.attribute("axis", lambda: axis_of(call, len(shape)))
    length = shape[axis if axis is not None else -1]
    call.content("K", [choices.below(length + 1)])
    call.attribute("k", lambda: choices.below(length + 1))
    for name in ("largest", "sorted"):
        call.attribute(name, lambda: choices.pick([1, 0]))


def _loss(call: Call) -> None:
    """A score for each class along axis 1, and the class that it should be."""
    base = call.base if len(call.base) > 1 else (2, 3)
    shape = call.shape(0, tuple(max(size, 1) for size in base))
    classes = shape[1] if len(shape) > 1 else 1
    call.form((shape[0], *shape[2:]), call.schema.inputs[1].name)
    call.form((classes,), "weight", "weights")
    call.attribute("ignore_index", lambda: call.choices.below(classes))


def _suppression(call: Call) -> None:
    choices = call.choices
    batches, classes, count = (1 + choices.below(2) for _ in range(3))
    boxes = call.shape(0, (batches, count + 1, 4))
    call.shape(1, (boxes[0], classes, boxes[1]) if len(boxes) == 3 else None)
    call.content("max_output_boxes_per_class", [choices.pick([1, 2, 0])])
    call.content("iou_threshold", [choices.pick([0.5, 0.0, 1.0])])
    call.content("score_threshold", [choices.pick([0.0, 0.5])])


def _prelu(call: Call) -> None:
    shape = call.shape()
    if call.shapes[1] is None:
        tail = shape[call.choices.below(len(shape) + 1) :]
        call.shapes[1] = tuple(1 if call.choices.one_in(3) else dim for dim in tail)


def _quantize(call: Call) -> None:
    choices = call.choices
    shape = call.shape()
    axis = call.attribute("axis", lambda: axis_of(call, len(shape)))
    place = 1 if axis is None else axis
    along = shape[place:][:1] if shape else ()
    form = along if choices.one_in(3) and len(shape) > 1 else ()
    if "block_size" in call.wanted:  # of numbers along the axis, which share a scale
        blocks = [size for size in (2, 1, 3) if along and along[0] and along[0] % size == 0]
        block = call.attribute("block_size", lambda: choices.pick(blocks) if blocks else 0)
        if block:
            at = place % len(shape)
            form = (*shape[:at], shape[at] // block, *shape[at + 1 :])
    for index in (1, 2):
        if index < len(call.shapes) and call.dtypes[index] is not None and call.shapes[index] is None:
            known = call.shapes[1] if index == 2 else None
            call.shapes[index] = known if known is not None else form
    for index, numbers in ((1, [0.5, 0.25, 2.0, 0.1]), (2, [0, 3, 10])):
        if index < len(call.shapes) and index not in call.contents and call.dtypes[index] is not None:
            dtype = call.dtypes[index]
            assert dtype is not None
            shape_ = call.shapes[index] or ()
            count = math.prod(shape_) if choices.one_in(2) else 1
            drawn = [choices.pick(numbers) for _ in range(count)]
            call.contents[index] = np.resize(drawn, shape_).astype(dtype.numpy)


HINTS: dict[str, Hint] = {
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _channelwise),
    "GroupNormalization": _in_groups,
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _normalised),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"), _along_axis),
    **dict.fromkeys(("ArgMax", "ArgMin"), _reduce),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"), _reduce),
    **dict.fromkeys(("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"), _reduce),
    **dict.fromkeys(("CumSum", "CumProd"), _cumulative),
    "TopK": _topk,
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), _loss),
    "NonMaxSuppression": _suppression,
    "PRelu": _prelu,
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantize),
}
