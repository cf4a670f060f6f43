"""The rules that stock passes are made of, for `gd.rewrite`: `gd.passes.rules.merge_transposes` and the others.

identities.py: nodes that give their input back. movement.py: nodes that rearrange, merged. fusion.py: nodes that
compute, fused.
"""

from .fusion import (
    add_into_conv,
    add_into_conv_transpose,
    batch_norm_into_conv,
    batch_norm_into_conv_transpose,
    erf_gelu,
    layer_norm,
    layer_norm_shifted,
    matmul_add_to_gemm,
    tanh_gelu,
)
from .identities import (
    cast_like_known,
    cast_to_own_dtype,
    concat_of_one,
    drop_dropout,
    drop_identity,
    expand_to_own_shape,
    flatten_to_own_shape,
    one_of_one,
    pad_by_nothing,
    plus_nothing,
    reshape_to_own_shape,
    slice_of_all,
    tile_once,
    times_one,
    transpose_of_nothing,
)
from .movement import (
    merge_casts,
    merge_pads,
    merge_reshapes,
    merge_transposes,
    pad_into_conv,
    reshape_of_flatten,
    reshape_of_squeeze,
    squeeze_of_unsqueeze,
)

__all__ = [
    "add_into_conv",
    "add_into_conv_transpose",
    "batch_norm_into_conv",
    "batch_norm_into_conv_transpose",
    "cast_like_known",
    "cast_to_own_dtype",
    "concat_of_one",
    "drop_dropout",
    "drop_identity",
    "erf_gelu",
    "expand_to_own_shape",
    "flatten_to_own_shape",
    "layer_norm",
    "layer_norm_shifted",
    "matmul_add_to_gemm",
    "merge_casts",
    "merge_pads",
    "merge_reshapes",
    "merge_transposes",
    "one_of_one",
    "pad_by_nothing",
    "pad_into_conv",
    "plus_nothing",
    "reshape_of_flatten",
    "reshape_of_squeeze",
    "reshape_to_own_shape",
    "slice_of_all",
    "squeeze_of_unsqueeze",
    "tanh_gelu",
    "tile_once",
    "times_one",
    "transpose_of_nothing",
]
