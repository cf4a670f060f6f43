"""Known faults of ONNX Runtime."""

from typing import Any

import numpy as np

from ..ir import Node
from ..types import TensorType, string
from .faults import (
    ANY_NUMBERS,
    CRASH,
    FLOATS,
    INFINITIES,
    NAN,
    NUMBERS,
    RUNTIME,
    SHAPES,
    VALUES,
    Fault,
    axes,
    differ_in_halves,
    epsilon,
    fault,
    has_nan,
    inexact,
    is_finite,
    largest_power,
    most,
    reached,
    size,
    windows,
)
from .origins import Origin

RUNTIME_FAULTS: tuple[Fault, ...] = (
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
        "ONNX Runtime: Min, Max, Clip and Sign of int64 compare lower halves as signed numbers",
        "Min Max Clip Sign",
        VALUES,
        "int64",
        lambda o: o.x.size > 1 and differ_in_halves([x for x in o.inputs if x is not None] + [np.zeros((), np.int64)]),
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
        "ONNX Runtime: powers of integers are computed in float64 and saturate",
        "Pow",
        VALUES,
        "int64",
        lambda o: largest_power(o) >= 2**53,
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
        "ONNX Runtime: MaxPool of nothing but -inf is the least finite number",
        "MaxPool GlobalMaxPool",
        INFINITIES,
        "float32",
        lambda o: np.isneginf(o.x).any(),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Attention scales what it has multiplied",
        "Attention",
        f"{NAN}|{INFINITIES}|{NUMBERS}",
        "float32",
        lambda o: o.x.shape[-1] * size(o.x) * size(o.inputs[1]) > most(o),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Attention takes the least number in a mask for -inf",
        "Attention",
        f"{NUMBERS}|{INFINITIES}",
        "float16 float32",
        lambda o: _mask(o).min(initial=0) <= -most(o),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: a row of Attention of float64 that is masked wholly is NaN",
        "Attention",
        NAN,
        "float64",
        lambda o: np.isneginf(_mask(o)).any(),
    ),
    fault(
        RUNTIME,
        "ONNX: the body of Attention computes its scale in float32",
        "Attention",
        NUMBERS,
        "float64",
        lambda o: o.difference.gap <= 2**-22 * size(o.inputs[2]) * (1 + o.x.shape[-1] * size(o.x) * size(o.inputs[1])),
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
        lambda o: size(o.x) >= 2 ** (24 if float(o.attribute("bias")).is_integer() else 21),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Shrink is computed in float32",
        "Shrink",
        f"{NUMBERS}|{INFINITIES}",
        "float64",
        lambda o: o.difference.gap <= 2**-22 * max(size(o.x), abs(o.attribute("bias"))) or size(o.x) > 2.0**127,
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
        "ONNX Runtime: InstanceNormalization takes the mean away last",
        "InstanceNormalization",
        ANY_NUMBERS,
        "float32 float64",
        lambda o: o.difference.gap <= 4 * epsilon(o) * _taken_away(o) or _taken_away(o) > most(o),
    ),
    *(
        fault(
            frozenset({witness}),  # each run gives something else
            "ONNX Runtime: products over nothing are what lies in memory",
            "ConvInteger MatMul MatMulInteger QLinearMatMul",
            ANY_NUMBERS,
            where=lambda o: not o.x.size and (o.node.op_type != "MatMul" or _has_one_vector(o)),
        )
        for witness in sorted(RUNTIME)
    ),
    *(
        fault(
            frozenset({witness}),
            "ONNX Runtime: Loop gives what lies in memory for strings that it collects",
            "Loop",
            VALUES,
            where=lambda o: collects_strings(o.node),
        )
        for witness in sorted(RUNTIME)
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
            and (o.difference.gap <= 2**-20 * size(o.x) or size(o.x) > 2**31 - 2**8)
        ),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Cast rounds to integers of 4 and 2 bits, and cuts off for all others",
        "Cast CastLike",
        VALUES,
        FLOATS,
        lambda o: o.gives in ("int4", "uint4", "int2", "uint2") and o.difference.gap <= 1,
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Cast of the least float8e8m0 to bool is False",
        "Cast CastLike",
        VALUES,
        "float8e8m0",
        lambda o: o.gives == "bool" and 2.0**-127 in o.x.astype(np.float64),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Cast of a -0.0 of 8 bits to bool is True",
        "Cast CastLike",
        VALUES,
        "float8e4m3fn float8e5m2",
        lambda o: o.gives == "bool" and (np.signbit(o.x.astype(np.float64)) & (o.x.astype(np.float64) == 0)).any(),
    ),
    fault(
        RUNTIME,
        "ONNX Runtime: Cast of float8e5m2 to itself keeps infinities",
        "Cast CastLike",
        INFINITIES,
        "float8e5m2",
        lambda o: o.gives == o.dtype and not is_finite(o.x),
    ),
)


def _mask(o: Origin) -> Any:
    """The mask that Attention adds to its scores; nothing where it has none of floats."""
    given = o.input("attn_mask")
    return np.empty(0) if given is None or given.dtype.kind == "b" else given.astype(np.float64)


def collects_strings(node: Node) -> bool:
    """Whether a Loop joins strings that its rounds give."""
    joined = node.outputs[max(len(node.inputs) - 2, 0) :]
    return any(isinstance(value.type, TensorType) and value.type.dtype is string for value in joined)


def _has_one_vector(o: Origin) -> bool:
    """Whether MatMul multiplies a matrix and a vector."""
    return [factor.ndim for factor in o.inputs].count(1) == 1


def _lost_by_running_sums(o: Origin) -> float:
    """Which part of a result LRN may lose, where a square that is taken away again leaves its rounding."""
    return float(8 * epsilon(o) * abs(o.attribute("alpha") / o.attribute("bias")) * size(o.x) ** 2)


def _taken_away(o: Origin) -> float:
    """The largest number that InstanceNormalization takes away from another one, as the runtime computes it."""
    x, along = o.x.astype(np.float64), tuple(range(2, o.x.ndim))
    factor = o.inputs[1] / np.sqrt(np.var(x, along) + o.attribute("epsilon"))
    return size(np.mean(x, along) * factor)
