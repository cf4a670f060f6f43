"""Passes that fuse nodes which compute. Sums run in another order, so the last bits of the outputs may change."""

from ..models import Model
from . import rules
from .pipeline import Source, apply

BATCH_NORMS = (rules.batch_norm_into_conv, rules.batch_norm_into_conv_transpose)
SCALES = (
    rules.add_into_conv,
    rules.add_into_conv_transpose,
    rules.mul_into_conv,
    rules.mul_into_conv_transpose,
)
MATMULS = (rules.matmul_add_to_gemm,)
GELUS = (rules.erf_gelu, rules.tanh_gelu)
LAYER_NORMS = (rules.layer_norm, rules.layer_norm_shifted)


def fuse_batch_norm(source: Source) -> Model:
    """BatchNormalization goes into the weights of the Conv or ConvTranspose before it, at inference.

    Those weights, the bias and the statistics must be constants; the new ones are computed in float64.

    >>> import graphdsl as gd
    >>> import numpy as np
    >>> x = gd.input("x", gd.float32[1, 3, 8, 8])
    >>> one, weight = np.ones(4, np.float32), np.ones((4, 3, 3, 3), np.float32)
    >>> y = gd.op.BatchNormalization(gd.op.Conv(x, weight), one, one, one, one)
    >>> [node.op_type for node in gd.passes.fuse_batch_norm(gd.build(y)).nodes]
    ['Conv']
    """
    return apply(source, BATCH_NORMS)


def fuse_conv_scale(source: Source) -> Model:
    """Constants by which the channels of Conv or ConvTranspose are multiplied, or that are added, go into its weights.

    >>> import graphdsl as gd
    >>> import numpy as np
    >>> x = gd.input("x", gd.float32[1, 3, 8, 8])
    >>> y = gd.op.Conv(x, np.ones((4, 3, 3, 3), np.float32)) * 2.0 + np.ones((4, 1, 1), np.float32)
    >>> [node.op_type for node in gd.passes.fuse_conv_scale(gd.build(y)).nodes]
    ['Conv']
    """
    return apply(source, SCALES)


def fuse_matmul_add(source: Source) -> Model:
    """A MatMul of matrices and the Add behind it become Gemm, where what is added fits Gemm's `C`.

    >>> import graphdsl as gd
    >>> import numpy as np
    >>> x = gd.input("x", gd.float32["n", 3])
    >>> y = x @ np.ones((3, 4), np.float32) + np.ones(4, np.float32)
    >>> [node.op_type for node in gd.passes.fuse_matmul_add(gd.build(y)).nodes]
    ['Gemm']
    """
    return apply(source, MATMULS)


def fuse_gelu(source: Source) -> Model:
    """What computes GELU, by Erf or by Tanh, becomes Gelu, from opset 20 on.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32["n", 3])
    >>> y = x * (gd.op.Erf(x / 2 ** 0.5) + 1) * 0.5
    >>> [node.op_type for node in gd.passes.fuse_gelu(gd.build(y)).nodes]
    ['Gelu']
    """
    return apply(source, GELUS)


def fuse_layer_norm(source: Source) -> Model:
    """What normalises over the last axes, scales and shifts becomes LayerNormalization, from opset 17 on.

    >>> import graphdsl as gd
    >>> import numpy as np
    >>> x = gd.input("x", gd.float32["n", 3])
    >>> moved = x - gd.op.ReduceMean(x, [-1])
    >>> spread = gd.op.Sqrt(gd.op.ReduceMean(moved * moved, [-1]) + 1e-5)
    >>> y = moved / spread * np.ones(3, np.float32) + np.ones(3, np.float32)
    >>> [node.op_type for node in gd.passes.fuse_layer_norm(gd.build(y)).nodes]
    ['LayerNormalization']
    """
    return apply(source, LAYER_NORMS)
