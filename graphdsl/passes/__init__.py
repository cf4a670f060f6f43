"""Stock passes: each takes a model (or a proto, or a path) and gives another; the one given is not changed.

>>> import graphdsl as gd
>>> x = gd.input("x", gd.float32[3])
>>> [node.op_type for node in gd.passes.simplify(gd.build({"y": gd.op.Identity(x) * 1 + 2})).nodes]
['Add']

`gd.compose` puts passes together; `gd.passes.rules` has the rules that they are made of, for `gd.rewrite`.
"""

from . import rules
from .declared_types import infer_types
from .dimensions import fix_dimensions, free_dimensions
from .duplicates import merge_duplicates
from .folding import fold_constants
from .fusions import fuse_batch_norm, fuse_conv_scale, fuse_gelu, fuse_layer_norm, fuse_matmul_add
from .identities import debug_to_identity, drop_identity, drop_noops
from .mergers import merge_casts, merge_pads, merge_reshapes, merge_transposes
from .precision import to_float16
from .simplification import simplify
from .storage import constants_to_initializers, freeze_defaults, initializers_to_constants
from .unused import dead_code, unused_functions, unused_initializers, unused_opsets

__all__ = [
    "constants_to_initializers",
    "dead_code",
    "debug_to_identity",
    "drop_identity",
    "drop_noops",
    "fix_dimensions",
    "fold_constants",
    "free_dimensions",
    "freeze_defaults",
    "fuse_batch_norm",
    "fuse_conv_scale",
    "fuse_gelu",
    "fuse_layer_norm",
    "fuse_matmul_add",
    "infer_types",
    "initializers_to_constants",
    "merge_casts",
    "merge_duplicates",
    "merge_pads",
    "merge_reshapes",
    "merge_transposes",
    "rules",
    "simplify",
    "to_float16",
    "unused_functions",
    "unused_initializers",
    "unused_opsets",
]
