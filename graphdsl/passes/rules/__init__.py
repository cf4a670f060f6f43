"""The rules that stock passes are made of, for `gd.rewrite`: `gd.passes.rules.merge_transposes` and the others.

identities.py: nodes that give their input back. movement.py: nodes that rearrange, merged. fusion.py: nodes that
compute, fused.
"""

from .identities import (
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

__all__ = [
    "cast_to_own_dtype",
    "concat_of_one",
    "drop_dropout",
    "drop_identity",
    "expand_to_own_shape",
    "flatten_to_own_shape",
    "one_of_one",
    "pad_by_nothing",
    "plus_nothing",
    "reshape_to_own_shape",
    "slice_of_all",
    "tile_once",
    "times_one",
    "transpose_of_nothing",
]
