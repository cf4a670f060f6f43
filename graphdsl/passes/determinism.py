"""Which operators give the same outputs for the same inputs, wherever and how often they run."""

from ..schemas import Schema
from ..walk import functions, operators


def is_deterministic(schema: Schema) -> bool:
    """Whether the standard says that an operator, or all that a local function calls, depends on its inputs alone.

    Of operators that only others implement nothing is known: they may draw numbers, or print.
    """
    if schema.function is None:
        return schema.native is not None and schema.deterministic
    parts = [schema.function, *functions(operators(schema.function.graph))]
    called = operators(*(function.graph for function in parts))
    return all(inner.native is not None and inner.deterministic for inner in called if inner.function is None)
