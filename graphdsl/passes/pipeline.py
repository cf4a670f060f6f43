"""Passes as functions from model to model: what they take, how they are put together."""

from collections.abc import Callable, Sequence

from .. import loading
from ..errors import BuildError
from ..ir import Node, Value
from ..loading import opened
from ..models import Model
from ..rewriting import Rule, rewrite
from ..sites import at, caller
from .outputs import made_under_their_names

Source = Model | loading.Source
"""What a pass takes: a model, or what it is read from."""

Pass = Callable[[Model], Model]


def unchanged(node: Node) -> Sequence[Value] | None:
    """What a sweep does with nodes that stay as they are."""
    return None


def apply(source: Source, rules: Sequence[Rule]) -> Model:
    """The model after rules, its outputs made under their own names."""
    model = opened(source)
    changed = rewrite(model, *rules).model
    return model if changed is model else made_under_their_names(changed)


def compose(*passes: Pass) -> Callable[[Source], Model]:
    """One pass out of several, applied in this order.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> tidy = gd.compose(gd.passes.drop_identity, gd.passes.merge_duplicates)
    >>> [node.op_type for node in tidy(gd.build(gd.op.Exp(x) * gd.op.Exp(gd.op.Identity(x)))).nodes]
    ['Exp', 'Mul']

    Args:
        passes: Functions from model to model: those of `gd.passes` and your own. One that takes options is wrapped, as
            in `lambda m: gd.passes.fold_constants(m, max_bytes=100)`.

    Raises:
        BuildError: a pass is not callable; when applied, a pass returns something that is no model.
    """
    for item in passes:
        if not callable(item) or isinstance(item, Rule):
            advice = f"; write lambda m: gd.rewrite(m, {item.name}).model" if isinstance(item, Rule) else ""
            raise BuildError(f"gd.compose takes functions from model to model, got {item!r}{advice}" + at(caller()))

    def composed(source: Source) -> Model:
        model = opened(source)
        for item in passes:
            found = item(model)
            if not isinstance(found, Model):
                label = getattr(item, "__name__", repr(item))
                raise BuildError(f"gd.compose: {label} returned {type(found).__name__}, not a Model" + at(caller()))
            model = found
        return model

    composed.__name__ = " then ".join(getattr(item, "__name__", repr(item)) for item in passes) or "nothing"
    composed.__qualname__ = composed.__name__
    composed.__doc__ = f"Passes in order: {composed.__name__}."
    return composed
