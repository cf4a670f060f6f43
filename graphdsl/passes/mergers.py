"""Passes that merge nodes which move data. The outputs keep every bit."""

from ..models import Model
from . import rules
from .pipeline import Source, apply

TRANSPOSES = (rules.merge_transposes, rules.transpose_of_nothing)
RESHAPES = (
    rules.merge_reshapes,
    rules.reshape_of_flatten,
    rules.reshape_of_squeeze,
    rules.squeeze_of_unsqueeze,
    rules.reshape_to_own_shape,
)
CASTS = (rules.merge_casts, rules.cast_to_own_dtype, rules.cast_like_known)
PADS = (rules.merge_pads, rules.pad_by_nothing, rules.pad_into_conv)


def merge_transposes(source: Source) -> Model:
    """Chains of Transpose nodes become one, or none.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[2, 3, 4])
    >>> y = gd.op.Transpose(gd.op.Transpose(x, perm=[1, 2, 0]), perm=[1, 2, 0])
    >>> [node.attributes["perm"] for node in gd.passes.merge_transposes(gd.build(y)).nodes]
    [(2, 0, 1)]
    """
    return apply(source, TRANSPOSES)


def merge_reshapes(source: Source) -> Model:
    """Chains of Reshape nodes, behind Flatten, Squeeze or Unsqueeze too, become one, or none.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[2, 3, 4])
    >>> [node.op_type for node in gd.passes.merge_reshapes(gd.build(x.reshape(6, 4).reshape(4, 6))).nodes]
    ['Reshape']
    """
    return apply(source, RESHAPES)


def merge_casts(source: Source) -> Model:
    """Two Cast nodes become one, or none, where the first one keeps every value.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float16[3])
    >>> y = gd.op.Relu(x.astype(gd.float32).astype(gd.float16))
    >>> [node.op_type for node in gd.passes.merge_casts(gd.build(y)).nodes]
    ['Relu']
    """
    return apply(source, CASTS)


def merge_pads(source: Source) -> Model:
    """Chains of Pad nodes with one constant become one, and padding by zeros goes into the convolution behind it.

    >>> import graphdsl as gd
    >>> import numpy as np
    >>> x = gd.input("x", gd.float32[1, 1, 5, 5])
    >>> around = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    >>> y = gd.op.Conv(gd.op.Pad(gd.op.Pad(x, around), around), np.ones((1, 1, 3, 3), np.float32))
    >>> [node.attributes["pads"] for node in gd.passes.merge_pads(gd.build(y)).nodes]
    [(2, 2, 2, 2)]
    """
    return apply(source, PADS)
