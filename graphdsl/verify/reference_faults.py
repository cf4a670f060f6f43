"""Known faults of ONNX's reference evaluator, and what the specification leaves open."""

from math import log

import numpy as np

from .faults import (
    ANY_NUMBERS,
    DTYPES,
    INFINITIES,
    INTEGERS,
    LENGTHS,
    NAN,
    NUMBERS,
    REFERENCE,
    RUNTIME,
    SHAPES,
    VALUES,
    Fault,
    axes,
    epsilon,
    fault,
    has_nan,
    inexact,
    is_finite,
    is_plain,
    largest_gate,
    largest_power,
    most,
    reached,
    size,
    strays,
    underflows,
    windows,
)
from .origins import Origin

_FUNCTIONS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
"""What recurrent operators apply by default, in each direction."""

REFERENCE_FAULTS: tuple[Fault, ...] = (
    fault(
        REFERENCE,
        "ONNX: the reference multiplies what it expands by 1, which infinite complex numbers do not survive",
        "Expand",
        NAN,
        "complex64 complex128",
        lambda o: not is_finite(o.x),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's OneHot computes its values",
        "OneHot",
        ANY_NUMBERS,
        where=lambda o: (
            not is_finite(o.input("values"))
            or o.difference.gap <= 2 * np.spacing(np.max(np.abs(o.input("values"))).astype(o.input("values").dtype))
        ),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's Clip lets infinities pass where no bound is given",
        "Clip",
        INFINITIES,
        where=lambda o: (
            (np.isposinf(o.x).any() and o.input("max") is None) or (np.isneginf(o.x).any() and o.input("min") is None)
        ),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's LpNormalization of p=1 adds up signs",
        "LpNormalization",
        ANY_NUMBERS,
        where=lambda o: o.attribute("p") == 1 and (o.x < 0).any(),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference lets float16 overflow on the way",
        "InstanceNormalization ReduceL2 LRN LpPool LpNormalization",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        "float16",
        strays,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference lets float16 overflow on the way",
        "GRU LSTM",
        NUMBERS,
        "float16",
        lambda o: largest_gate(o) > 11,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference lets float16 overflow on the way",
        "Mean",
        INFINITIES,
        "float16",
        lambda o: sum(map(size, o.inputs)) > most(o),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference lets float16 overflow on the way",
        "ReduceLogSum",
        INFINITIES,
        "float16",
        lambda o: reached(o) > most(o),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's LRN computes as many channels as there are images",
        "LRN",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        where=lambda o: o.x.shape[0] < o.x.shape[1],
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's MaxPool misplaces pads",
        "MaxPool",
        f"{ANY_NUMBERS}|{SHAPES}",
        where=lambda o: is_plain(o) and _misplaced(tuple(o.attribute("pads") or ())),
    ),
    fault(
        REFERENCE,
        "ONNX: the indices of the reference's MaxPool count within a channel",
        "MaxPool",
        VALUES,
        where=lambda o: o.difference.output == "o1" and o.x.shape[0] * o.x.shape[1] > 1 and is_plain(o),
    ),
    fault(
        REFERENCE,
        "ONNX: the indices of the reference's MaxPool count the pads of SAME_LOWER",
        "MaxPool",
        VALUES,
        where=lambda o: o.difference.output == "o1" and o.attribute("auto_pad") == "SAME_LOWER",
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's AveragePool takes NaN for padding",
        "AveragePool",
        NAN,
        where=lambda o: has_nan(o.x),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's pools round sizes down where `auto_pad` is SAME_LOWER",
        "MaxPool",
        SHAPES,
        where=lambda o: o.attribute("auto_pad") == "SAME_LOWER" and max(windows(o, "strides", 1)) > 1,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's MaxPool rounds half of a negative pad down",
        "MaxPool",
        ANY_NUMBERS,
        where=lambda o: o.attribute("auto_pad") == "SAME_UPPER" and any(pad < 0 and pad % 2 for pad in _pads(o)),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's GlobalMaxPool takes all tensors for images",
        "GlobalMaxPool",
        SHAPES,
        where=lambda o: o.x.ndim != 4,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's ConvTranspose adds the bias of the first group to all",
        "ConvTranspose",
        ANY_NUMBERS,
        where=lambda o: o.attribute("group") > 1 and o.input("B") is not None,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference computes functions of float64 in float32",
        "Erf Gelu",
        NUMBERS,
        "float64",
        lambda o: o.difference.gap <= 2**-23 * max(size(o.x), 1),
    ),
    fault(
        REFERENCE | RUNTIME,
        "ONNX: the body of Gelu holds its constants in float32",
        "Gelu",
        NUMBERS,
        "float64",
        lambda o: o.attribute("approximate") == "tanh" and o.difference.gap <= 2**-23 * max(size(o.x), 1),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference computes functions of float64 in float32",
        "GridSample DeformConv",
        NUMBERS,
        "float64",
        lambda o: o.difference.gap <= 2**-18 * size(o.x) * (size(o.inputs[1]) if o.node.op_type == "DeformConv" else 1),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's GridSample computes places in the dtype of the grid",
        "GridSample",
        NUMBERS,
        where=lambda o: o.input("grid").dtype == np.float16 and o.difference.gap <= 2**-7 * size(o.x),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's AffineGrid is of float32 always",
        "AffineGrid",
        DTYPES,
        "float64 float16",
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's Resize multiplies what it does not take by 0",
        "Resize",
        f"{NAN}|{INFINITIES}",
        where=lambda o: not is_finite(o.x),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's Resize to a single pixel begins half a pixel before it",
        "Resize",
        f"{NUMBERS}|{VALUES}",
        where=lambda o: (
            o.attribute("coordinate_transformation_mode") == "pytorch_half_pixel"
            and o.attribute("mode") == "cubic"
            and 1 in np.shape(o.difference.one)
        ),
    ),
    fault(
        REFERENCE,
        "ONNX: the specification does not say how Resize rounds to integers",
        "Resize",
        VALUES,
        INTEGERS,
        lambda o: o.attribute("mode") in ("linear", "cubic") and o.difference.gap <= 1,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's RNN, GRU and LSTM forget the lengths of sequences",
        "RNN GRU LSTM",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        where=lambda o: (
            o.input("sequence_lens") is not None
            and (o.input("sequence_lens") < o.x.shape[o.attribute("layout") or 0]).any()
        ),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's RNN, GRU and LSTM forget attributes",
        "RNN GRU LSTM",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        where=lambda o: (
            largest_gate(o) > (o.attribute("clip") or np.inf)
            or o.attribute("input_forget")
            or (o.node.op_type in _FUNCTIONS and _others(o))
        ),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's SequenceInsert inserts at the front what belongs at the end",
        "SequenceInsert",
        f"{ANY_NUMBERS}|{SHAPES}|{DTYPES}",
        where=lambda o: o.input("position") is not None and int(o.input("position")) == len(o.x),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's Optional gives a list",
        "Optional",
        LENGTHS,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's QuantizeLinear goes through int32",
        "QuantizeLinear",
        VALUES,
        where=lambda o: np.isinf(o.x).any() or size(o.x) / np.min(o.inputs[1]) >= 2**30,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's ReduceSumSquare gives 64-bit integers",
        "ReduceSumSquare",
        DTYPES,
        "int32 uint32",
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's ReduceL2 squares integers in their dtype",
        "ReduceL2",
        VALUES,
        "int32 int64 uint32 uint64",
        lambda o: reached(o) > most(o),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's LayerNormalization and RMSNormalization forget `stash_type`",
        "LayerNormalization",
        DTYPES,
        "float64 float16 bfloat16",
        lambda o: len(o.node.outputs) > 1,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's LayerNormalization and RMSNormalization forget `stash_type`",
        "LayerNormalization RMSNormalization",
        f"{NUMBERS}|{NAN}",
        "float16",
        strays,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's StringNormalizer drops empty words",
        "StringNormalizer",
        f"{SHAPES}|{VALUES}",
        where=lambda o: "" in o.x,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's StringNormalizer looks for stop words inside of elements",
        "StringNormalizer",
        f"{SHAPES}|{VALUES}",
        where=lambda o: o.attribute("stopwords") and any(" " in text for text in o.x.flat),
    ),
    fault(
        REFERENCE,
        "ONNX: the body of MeanVarianceNormalization subtracts squares",
        "MeanVarianceNormalization",
        f"{NUMBERS}|{NAN}",
        where=lambda o: o.difference.relative <= (lost := _lost_by_squares(o)) or lost >= 1,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's StringNormalizer takes accents away",
        "StringNormalizer",
        f"{VALUES}|{SHAPES}",
        where=lambda o: not all(text.isascii() for text in o.x.flat),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's Unique sorts always where nothing else is asked for",
        "Unique",
        ANY_NUMBERS,
        where=lambda o: not o.attribute("sorted") and len(o.node.outputs) == 1,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's LogSoftmax is the logarithm of its Softmax",
        "LogSoftmax SoftmaxCrossEntropyLoss",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        where=underflows,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference runs Softmax and Hardmax of old opsets as those of opset 13",
        "Softmax LogSoftmax Hardmax",
        ANY_NUMBERS,
        where=lambda o: o.node.schema.since < 13 and o.attribute("axis") % o.x.ndim != o.x.ndim - 1,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference mixes statistics of the input into BatchNormalization of opsets 9 to 13",
        "BatchNormalization",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        where=lambda o: o.node.schema.since in (7, 9),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's BatchNormalization multiplies before it divides",
        "BatchNormalization",
        f"{NAN}|{INFINITIES}",
        where=lambda o: 2 * max(size(o.x), size(o.inputs[3])) * size(o.inputs[1]) > most(o),
    ),
    fault(
        REFERENCE,
        "ONNX: Gemm of integers goes through float64 in the reference",
        "Gemm",
        VALUES,
        INTEGERS,
        lambda o: inexact(o, o.x.size * size(o.x) * size(o.inputs[1])) or max(map(size, o.inputs)) >= 2**53,
    ),
    fault(
        REFERENCE,
        "ONNX: Pow of int64 by uint64 goes through float64 in the reference",
        "Pow",
        VALUES,
        "int64",
        lambda o: o.inputs[1].dtype == np.uint64 and largest_power(o) >= 2**53,
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's ReduceLogSumExp of infinities is NaN",
        "ReduceLogSumExp",
        NAN,
        where=lambda o: np.isinf(o.x).any(),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's PRelu multiplies 0 by the slope",
        "PRelu",
        NAN,
        where=lambda o: (o.x == 0).any() and not is_finite(o.inputs[1]),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's Det goes through a logarithm",
        "Det",
        NUMBERS,
        "float64",
        lambda o: o.difference.relative <= epsilon(o) * abs(log(size(o.difference.one) or 1)),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference's RoiAlign of opset 10 samples as that of opset 16",
        "RoiAlign",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        where=lambda o: o.node.schema.since < 16,
    ),
)


def _misplaced(pads: tuple[int, ...]) -> bool:
    """Whether pads are others where both ends of an axis are taken to come first; those of one axis are lost."""
    return any(pads) and (len(pads) != 4 or pads[1] != pads[2])


def _pads(o: Origin) -> list[int]:
    """The pads of both ends of each axis that a size of `ceil(input / stride)` takes."""
    count = o.x.ndim - 2
    steps, gaps = (o.attribute(name) or (1,) * count for name in ("strides", "dilations"))
    along = zip(o.x.shape[2:], o.attribute("kernel_shape"), steps, gaps, strict=True)
    return [(-(-size // step) - 1) * step + (k - 1) * gap + 1 - size for size, k, step, gap in along]


def _lost_by_squares(o: Origin) -> float:
    """Which part of a variance is lost where it is the mean of squares less the square of the mean."""
    along = tuple(axes(o))
    return size(8 * epsilon(o) * np.mean(o.x**2, along) / np.var(o.x, along))


def _others(o: Origin) -> bool:
    """Whether a recurrent operator is given other functions than it has by default."""
    given = tuple(o.attribute("activations") or ())
    return given != (_FUNCTIONS[o.node.op_type] * 2)[: len(given)]
