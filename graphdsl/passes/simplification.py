"""The pass that composes all those whose result means the same."""

from ..loading import opened
from ..models import Model
from ..rewriting import Rule
from . import fusions, identities, mergers, rules
from .duplicates import merge_duplicates
from .folding import MAX_BYTES, fold_constants
from .pipeline import Source, apply
from .storage import constants_to_initializers
from .unused import dead_code, unused_functions, unused_initializers, unused_opsets

_MOST_ROUNDS = 8
"""A model that still changes after so many rounds is simple enough; each round is linear in its nodes."""

_EXACT: tuple[Rule, ...] = tuple(
    dict.fromkeys(
        (
            rules.drop_identity,
            rules.drop_dropout,
            *identities.NOOPS,
            *mergers.TRANSPOSES,
            *mergers.RESHAPES,
            *mergers.CASTS,
            *mergers.PADS,
        )
    )
)
_ROUNDED: tuple[Rule, ...] = (
    *fusions.BATCH_NORMS,
    *fusions.SCALES,
    *fusions.GELUS,
    *fusions.LAYER_NORMS,
    *fusions.MATMULS,
)


def simplify(source: Source, *, exact: bool = False, max_bytes: int = MAX_BYTES) -> Model:
    """The model as the sound passes leave it, one after another until nothing changes any more.

    These are: constants folded, nodes dropped that do nothing, nodes merged that move data, equal nodes merged, nodes
    fused that compute, and whatever nothing uses any more dropped.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[2, 3])
    >>> y = gd.op.Reshape(x, gd.op.Shape(x)) * gd.op.Sqrt(gd.constant(1.0)) + gd.op.Exp(x) * gd.op.Exp(x)
    >>> [node.op_type for node in gd.passes.simplify(gd.build({"y": y})).nodes]
    ['Exp', 'Mul', 'Add']

    Args:
        source: A model, a proto or a path.
        exact: Leave out what changes the last bits of outputs: the fusions of nodes that compute.
        max_bytes: What folding may add; see `fold_constants`.
    """
    model = constants_to_initializers(opened(source))
    chosen = _EXACT if exact else (*_EXACT, *_ROUNDED)
    for _ in range(_MOST_ROUNDS):
        before = model
        model = dead_code(merge_duplicates(apply(fold_constants(model, max_bytes=max_bytes), chosen)))
        if model is before:
            break
    return unused_opsets(unused_functions(unused_initializers(model)))
