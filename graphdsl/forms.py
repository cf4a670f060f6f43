"""How an operator is written at this opset and at others: what messages say of a call that fits another opset.

Between opsets, attributes have become inputs (Squeeze's `axes`, Clip's `min`) and names have changed (TopK's `k` is the
input `K` since opset 10). Nothing here runs unless a call has failed.
"""

from collections.abc import Iterator

from onnx import AttributeProto

from .errors import UnknownOperator, nearest
from .schemas import Schema, lookup, newest
from .types import DTYPES


def form(schema: Schema) -> str:
    """The operator's signature in one line: the inputs, then the attributes."""
    inputs = [p.name if p.required else f"*{p.name}" if p.variadic else f"{p.name}=None" for p in schema.inputs]
    attributes = [n if s.required else f"{n}=..." for n, s in sorted(schema.attributes.items())]
    return f"it takes ({', '.join(inputs)}" + (f"; {', '.join(attributes)})" if attributes else ")")


def unknown_keyword(schema: Schema, name: str) -> str:
    """Why a name is neither an attribute nor an input at this opset, and where it is one."""
    known = [*schema.attributes, *(p.name for p in schema.inputs)]
    for other in _versions(schema):
        what = "attribute" if name in other.attributes else "input" if name in _inputs(other) else None
        if what:
            when = f"up to opset {other.until}" if other.until < schema.since else f"since opset {other.since}"
            here = f"this is opset {schema.version}{nearest(name, known)}"
            return f"{what} {name!r} exists {when}, and {here}; {form(schema)}"
    return f"no attribute or input {name!r}{nearest(name, known)}; {form(schema)}"


def surplus_inputs(schema: Schema, count: int) -> str:
    """What to write where the inputs are too many because the last ones are attributes at this opset."""
    own = {name.lower(): name for name in schema.attributes}
    for other in _versions(schema):
        names = [own[p.name.lower()] for p in other.inputs[schema.most_inputs : count] if p.name.lower() in own]
        if names:
            write = ", ".join(f"{name}=..." for name in names)
            verb = "is an attribute" if len(names) == 1 else "are attributes"
            return f"at opset {schema.version} {' and '.join(map(repr, names))} {verb}: write {write}"
    return form(schema)


def tensor_as_attribute(schema: Schema, name: str) -> str:
    """What to write, after a message's ";", where an attribute was given a tensor."""
    later = next((s for s in _versions(schema) if s.since > schema.since and name in _inputs(s)), None)
    where = f"; it is an input, which may be a tensor, since opset {later.since}" if later else ""
    return f"; write the values, or tensor.value of a constant{where}"


def value_advice(kind: int, value: object) -> str:
    """What to write, after a message's ";", where an attribute was given a value of another kind."""
    if kind == AttributeProto.INT and value in [dtype.name for dtype in DTYPES]:
        return f"; write gd.{value}"
    items: dict[int, tuple[type, ...]] = {
        AttributeProto.INTS: (int,),
        AttributeProto.FLOATS: (int, float),
        AttributeProto.STRINGS: (str,),
    }
    return f"; write [{value!r}]" if isinstance(value, items.get(kind, ())) else ""


def _inputs(schema: Schema) -> set[str]:
    return {parameter.name for parameter in schema.inputs}


def _versions(schema: Schema) -> Iterator[Schema]:
    """The other versions of the operator: earlier ones from the latest on, then later ones."""
    last = schema
    for version in (*range(schema.since - 1, 0, -1), *range(schema.since + 1, newest(schema.domain) + 1)):
        try:
            other = lookup(schema.domain, schema.name, version)
        except UnknownOperator:
            continue
        if other.since not in (last.since, schema.since):
            yield other
        last = other
