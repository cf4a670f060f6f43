"""Faults of others that are known: what a campaign meets of them is counted, and not reported as new.

Each is told in docs/upstream.md, with the smallest model that shows it. An entry says of one node as narrowly as it can
where its fault shows: by operators, dtype and who errs, by what is seen, and by attributes and values.
"""

from collections.abc import Sequence

import numpy as np

from .faults import (
    ANY_NUMBERS,
    CRASH,
    DTYPES,
    INFINITIES,
    INTEGERS,
    LENGTHS,
    NAN,
    NUMBERS,
    REFERENCE,
    RUNTIME,
    SHAPES,
    TORCH,
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
    most,
    overflows,
    reached,
    size,
    underflows,
    windows,
)
from .origins import Origin


def known(origin: Origin, pair: Sequence[str]) -> str | None:
    """The heading of the known fault that a node shows; None where it shows none."""
    with np.errstate(all="ignore"):
        return next((entry.heading for entry in FAULTS if entry.explains(origin, pair)), None)


FAULTS: tuple[Fault, ...] = (
    fault(
        RUNTIME,
        "ONNX Runtime: Gather of strings takes the first string of each row only",
        "Gather",
        VALUES,
        "string",
        lambda o: o.attribute("axis") not in (-1, o.x.ndim - 1),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: reductions of empty tensors ignore negative axes",
        "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ArgMax ArgMin",
        SHAPES,
        where=lambda o: not o.x.size and min(axes(o), default=0) < 0,
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: ReduceSum and ReduceProd of int64 are computed in float64",
        "ReduceSum ReduceProd ReduceSumSquare ReduceL1 ReduceMean",
        VALUES,
        "int32 int64",
        lambda o: inexact(o, reached(o)),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Einsum of int64 is computed in float64 where it sums",
        "Einsum",
        VALUES,
        "int32 int64",
        lambda o: inexact(o, float(np.prod([np.sum(np.abs(x.astype(np.float64))) for x in o.inputs]))),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Mod with fmod=1 of 64-bit integers is computed in float64",
        "Mod",
        VALUES,
        "int64 uint64",
        lambda o: o.attribute("fmod") and max(map(size, o.inputs)) >= 2**53,
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Sign of a float16 NaN is 0",
        "Sign",
        NAN,
        "float16",
        lambda o: has_nan(o.x),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: the least integer divided by -1 kills the process",
        "Div Mod",
        CRASH,
        "int32 int64",
        lambda o: not o.attribute("fmod") and o.x.min() == np.iinfo(o.x.dtype).min and -1 in o.inputs[1],
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: ReduceMax and ReduceMin see a NaN only in the first place",
        "ReduceMax ReduceMin",
        NAN,
        where=lambda o: has_nan(o.x),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: LogSoftmax of float64 forgets a NaN",
        "LogSoftmax",
        NAN,
        "float64",
        lambda o: has_nan(o.x),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Shrink is computed in float32",
        "Shrink",
        VALUES,
        "int32 int64 uint32 uint64",
        lambda o: size(o.x) > 2**24,
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Shrink is computed in float32",
        "Shrink",
        NUMBERS,
        "float64",
        lambda o: o.difference.gap <= 2**-22 * max(size(o.x), abs(o.attribute("bias"))),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: MeanVarianceNormalization of equal numbers is NaN",
        "MeanVarianceNormalization",
        NAN,
        where=lambda o: (np.ptp(o.x, tuple(axes(o))) == 0).any(),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: windows of float64 are computed in float32",
        "BlackmanWindow HammingWindow HannWindow",
        NUMBERS,
        where=lambda o: o.gives == "float64" and o.difference.gap <= 2**-21,
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: StringSplit splits at spaces only",
        "StringSplit",
        f"{VALUES}|{SHAPES}",
        where=lambda o: not o.attribute("delimiter") and any(c.isspace() and c != " " for s in o.x.flat for c in s),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: StringSplit finds no part in an empty text",
        "StringSplit",
        f"{VALUES}|{SHAPES}",
        where=lambda o: o.attribute("delimiter") and "" in o.x,
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: pooling by `auto_pad` forgets dilations",
        "MaxPool AveragePool LpPool",
        SHAPES,
        where=lambda o: o.attribute("auto_pad") in ("SAME_UPPER", "SAME_LOWER") and max(windows(o, "dilations", 1)) > 1,
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Sigmoid loses all its digits far below 0",
        "Sigmoid",
        NUMBERS,
        "float32 float64",
        lambda o: o.difference.gap <= 2 * epsilon(o) and (o.x < -1).any(),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Sigmoid loses all its digits far below 0",
        "Swish",
        NUMBERS,
        "float32 float64",
        lambda o: o.difference.gap <= 2 * epsilon(o) * size(o.x) and (o.x < -1).any(),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: LRN adds squares of channels up and takes them away again",
        "LRN",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        where=lambda o: o.difference.relative <= (lost := _lost_by_running_sums(o)) or lost >= 1,
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Resize of int32 is computed in float32",
        "Resize",
        VALUES,
        "int32",
        lambda o: (
            o.attribute("mode") == "linear"
            and size(o.x) > 2**22
            and (o.difference.relative <= 2**-20 or size(o.x) > 2**31 - 2**8)
        ),
    ),
    # ONNX's reference evaluator
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
        "ONNX: the reference's LpNormalization of p=1 adds up signs",
        "LpNormalization",
        ANY_NUMBERS,
        where=lambda o: o.attribute("p") == 1 and (o.x < 0).any(),
    ),
    fault(
        REFERENCE,
        "ONNX: the reference lets float16 overflow on the way",
        "InstanceNormalization ReduceL2 LRN LpPool",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        "float16",
        overflows,
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
            o.node.attributes.keys() & {"clip", "input_forget"}
            or (o.node.op_type != "RNN" and "activations" in o.node.attributes)
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
        "ONNX: the reference's LayerNormalization forgets `stash_type`",
        "LayerNormalization",
        DTYPES,
        "float64 float16 bfloat16",
        lambda o: len(o.node.outputs) > 1,
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
        "ONNX: the reference's RoiAlign of opset 10 samples as that of opset 16",
        "RoiAlign",
        f"{NUMBERS}|{NAN}|{INFINITIES}",
        where=lambda o: o.node.schema.since < 16,
    ),
    # torch
    fault(
        TORCH,
        "torch: fmod of float32 is NaN where the quotient overflows",
        "Mod",
        NAN,
        "float32",
        lambda o: np.isinf(o.x / o.inputs[1]).any(),
    ),
)


def _lost_by_running_sums(o: Origin) -> float:
    """Which part of a result LRN may lose, where a square that is taken away again leaves its rounding."""
    return float(8 * epsilon(o) * abs(o.attribute("alpha") / o.attribute("bias")) * size(o.x) ** 2)


def _misplaced(pads: tuple[int, ...]) -> bool:
    """Whether pads are others where both ends of an axis are taken to come first; those of one axis are lost."""
    return any(pads) and (len(pads) != 4 or pads[1] != pads[2])
