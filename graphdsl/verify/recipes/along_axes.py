"""Recipes of operators that compute along axes: reductions, scans, normalisations, products of matrices."""

import numpy as np

from ...types import float32
from ..arrays import Range
from ..drafts import Draft
from .elementwise import FACTORS, Recipe


def reduction(d: Draft) -> None:
    rank = len(d.any(known=True).shape)
    if rank and d.flag():
        axes = [axis - rank if d.flag() else axis for axis in d.axes(rank)]
        if "axes" in d.schema.attributes:
            d.attributes["axes"] = axes
        else:
            d.constant(axes)
    d.attribute("keepdims", (0, 1))
    if len(d.inputs) == 1:
        d.attribute("noop_with_empty_axes", (0, 1))


def arg(d: Draft) -> None:
    rank = len(d.any(low=1, known=True).shape)
    if d.flag():
        d.axis(rank)
    d.attribute("keepdims", (0, 1))
    d.attribute("select_last_index", (0, 1))


def top_k(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    axis = d.axis(len(shape)) if d.flag() else -1
    d.constant(np.array([d.number(1, shape[axis])], np.int64))
    d.attribute("largest", (0, 1))
    d.attribute("sorted", (1,))


def cumulative(d: Draft) -> None:
    rank = len(d.any(low=1, known=True).shape)
    d.bind()
    d.constant(d.number(-rank, rank - 1))
    d.attribute("exclusive", (0, 1))
    d.attribute("reverse", (0, 1))


def softmax(d: Draft) -> None:
    rank = len(d.any(low=1, known=True).shape)
    if d.flag():
        d.axis(rank)


def lp_normalization(d: Draft) -> None:
    softmax(d)
    d.attribute("p", (1, 2))


def mean_variance(d: Draft) -> None:
    # of another dtype, or without axes, ONNX's own checker refuses the function body
    rank = len(d.any(2, 4, known=True, among=[float32]).shape)
    d.attributes["axes"] = d.axes(rank)


def layer_norm(d: Draft) -> int:
    shape = d.any(low=1, known=True).shape
    axis = d.axis(len(shape)) if d.flag() else len(shape) - 1
    d.bind(among=[d.inputs[0].dtype])
    d.like(shape[axis:])
    if len(d.schema.inputs) > 2 and d.flag():
        d.like(shape[axis:])
    d.attribute("epsilon", (1e-5, 0.1))
    return d.number(1, 3) if d.schema.name == "LayerNormalization" else 1


def group_norm(d: Draft) -> None:
    shape = d.any(3, 4, known=True).shape
    channels = shape[1]
    groups = d.pick([k for k in range(1, channels + 1) if channels % k == 0])
    d.attributes["num_groups"] = groups
    count = groups if d.schema.since < 21 else channels
    d.like((count,))
    d.like((count,))
    d.attribute("epsilon", (1e-5, 0.1))


def instance_norm(d: Draft) -> None:
    shape = d.any(3, 4, known=True).shape
    d.like((shape[1],))
    d.like((shape[1],))
    d.attribute("epsilon", (1e-5, 0.1))


def batch_norm(d: Draft) -> int:
    shape = d.any(2, 4, known=True).shape
    for _ in range(3):
        d.like((shape[1],))
    d.like((shape[1],), Range(0, 16))
    d.attribute("epsilon", (1e-5, 0.1))
    return 1


def lrn(d: Draft) -> None:
    d.any(4, 4, known=True)
    d.attributes["size"] = d.pick((1, 3))
    d.attribute("alpha", FACTORS)
    d.attribute("beta", FACTORS)
    d.attribute("bias", (1.0, 2.0))


def matmul(d: Draft) -> None:
    a = d.any(low=1, high=3).shape
    if d.schema.name == "MatMulInteger":
        d.bind()
    b = (a[-1], d.size()) if d.flag() else (a[-1],)
    if len(a) > 2 and len(b) > 1 and d.flag():
        b = (*a[:-2], *b)
    d.like(b)
    if d.schema.name == "MatMulInteger" and d.flag():
        d.like(())
        d.like(())


def gemm(d: Draft) -> None:
    a = d.any(2, 2).shape
    inner, rows = (a[0], a[1]) if d.attribute("transA", (1, 0)) else (a[1], a[0])
    columns = d.size()
    d.like((columns, inner) if d.attribute("transB", (1, 0)) else (inner, columns))
    if d.flag():
        d.broadcast((rows, columns))
    d.attribute("alpha", FACTORS)
    d.attribute("beta", FACTORS)


_EQUATIONS = (
    ("ij->ji", ("ij",)),
    ("ij,jk->ik", ("ij", "jk")),
    ("ij->i", ("ij",)),
    ("ii->i", ("ii",)),
    ("i,j->ij", ("i", "j")),
    ("bij,bjk->bik", ("bij", "bjk")),
    ("...i,...i->...", ("bi", "bi")),
    ("ij,ij->", ("ij", "ij")),
)


def einsum(d: Draft) -> None:
    equation, operands = d.pick(_EQUATIONS)
    d.attributes["equation"] = equation
    sizes: dict[str, int] = {}
    for letters in operands:
        d.like(tuple(sizes.setdefault(letter, d.number(1, 3)) for letter in letters))


def det(d: Draft) -> None:
    d.any(2, 3, known=True, ok=lambda shape: shape[-1] == shape[-2], sizes=(2, 2))


_REDUCTIONS = (
    *("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum"),
    *("ReduceLogSumExp", "ReduceSumSquare"),
)

RECIPES: dict[str, Recipe] = {
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg),
    **dict.fromkeys(("CumSum", "CumProd"), cumulative),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    **dict.fromkeys(("MatMul", "MatMulInteger"), matmul),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), layer_norm),
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance,
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "BatchNormalization": batch_norm,
    "LRN": lrn,
    "TopK": top_k,
    "Gemm": gemm,
    "Einsum": einsum,
    "Det": det,
}
