"""Wrong rules for every operator: one attribute or optional input is forgotten, or two inputs are swapped."""

import re
from collections.abc import Iterator
from itertools import combinations

import graphdsl as gd
from graphdsl import op
from graphdsl.schemas import Schema

NEEDED = {
    "Constant": "value=value",
    "LinearAttention": "update_rule='linear'",
    "Optional": "x",
    "RegexFullMatch": "pattern=pattern",
    "Resize": "None, scales",
    "STFT": "None, frame_length",
    "Split": "num_outputs=2, outputs=2",
    "TfIdfVectorizer": "pool_int64s=pool",
}
"""What operators need beside what their schemas call required."""


def parameters(schema: Schema) -> tuple[list[str], list[str]]:
    """Names for the inputs that an operator requires, and for those that are optional."""
    many = bool(schema.inputs) and schema.inputs[-1].variadic
    required = [f"x{place}" for place in range(max(schema.least_inputs, int(many)))]
    return required, [] if many else [parameter.name.lower() for parameter in schema.inputs[len(required) :]]


def names_in(arguments: str) -> list[str]:
    """The names that are handed over in a call, by place or by keyword."""
    return re.findall(r"(?:^|=|, )([a-z_]+)(?=,|$)", arguments)


def wrong_rules(schema: Schema) -> Iterator[gd.Rule]:
    """The wrong rules of an operator, each named by what is wrong."""
    needed = NEEDED.get(schema.name, "")
    for name, spec in schema.attributes.items():
        if not spec.required and f"{name}=" not in needed:
            yield _rule(schema, f"without {name}", [], [], f"{name}=it")
    required, optional = parameters(schema)
    names = [*required, *optional]
    for place, name in enumerate(optional, len(required)):
        inputs = [*required, *["None"] * (place - len(required)), name]
        yield _rule(schema, f"without {schema.inputs[place].name}", inputs, inputs[:-1])
    for one, other in combinations(range(len(names)), 2):
        if schema.inputs[one].type_str == schema.inputs[other].type_str:
            inputs = [n if n in required or at in (one, other) else "None" for at, n in enumerate(names[: other + 1])]
            inputs += required[len(inputs) :]
            swapped = list(inputs)
            swapped[one], swapped[other] = inputs[other], inputs[one]
            what = f"{schema.inputs[one].name} and {schema.inputs[other].name} swapped"
            yield _rule(schema, what, inputs, swapped)


def _rule(schema: Schema, what: str, before: list[str], after: list[str], lost: str = "") -> gd.Rule:
    """The rule from a call to one with other inputs, or without an attribute where one is lost."""
    needed = NEEDED.get(schema.name, "")
    if lost:
        before = after = parameters(schema)[0]
    elif not re.match(r"\w+=", needed):  # inputs, of which there are others here
        needed = ""
    required = [f"{name}={name}" for name, spec in schema.attributes.items() if spec.required]
    whole, less = (
        ", ".join(filter(None, [*part, needed, *required, extra])) for part, extra in ((before, lost), (after, ""))
    )
    takes = ", ".join(dict.fromkeys([*(name for name in before if name != "None"), *names_in(whole)]))
    pattern, function = (eval(f"lambda {takes}: op.{schema.name}({part})", {"op": op}) for part in (whole, less))
    return gd.rule(pattern, name=f"{schema.name} {what}")(function)
