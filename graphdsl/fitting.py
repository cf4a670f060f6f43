"""Whether a node in a file is one that its operator has: attributes of the right kinds, as many inputs and outputs."""

import onnx

from .attributes import kind_word
from .errors import nearest
from .schemas import FOREVER, Schema


def misfits(schema: Schema, proto: onnx.NodeProto) -> list[str]:
    """What is wrong with a node in a file, apart from types: attributes, their kinds, how much it takes and gives."""
    found: list[str] = []
    given = [attribute.name for attribute in proto.attribute]
    for attribute in proto.attribute:
        spec = schema.attributes.get(attribute.name)
        if spec is None:
            known = [*schema.attributes]
            hint = nearest(attribute.name, known) or ("" if known else "; it has none")
            found.append(f"no attribute {attribute.name!r}{hint}")
        elif attribute.ref_attr_name and attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            found.append(f"the body {attribute.name!r} is an attribute of the function around, which is not supported")
        elif attribute.type != spec.kind:
            found.append(f"attribute {attribute.name!r} is {_kind(spec.kind)}, got {_kind(attribute.type)}")
    found += [f"attribute {name!r} is given twice" for name in dict.fromkeys(given) if given.count(name) > 1]
    missing = [name for name in schema.needed if name not in given]
    found += [f"attribute {name!r} is required" for name in missing]
    count = len(proto.input)
    if not schema.least_inputs <= count <= schema.most_inputs:
        found.append(f"it takes {_range(schema.least_inputs, schema.most_inputs, 'input')}, got {count}")
    else:
        absent = [schema.input(index) for index, name in enumerate(proto.input) if not name]
        found += [f"input {p.name!r} is required" for p in dict.fromkeys(absent) if p.required]
    if not schema.least_outputs <= len(proto.output) <= schema.most_outputs:
        found.append(f"it has {_range(schema.least_outputs, schema.most_outputs, 'output')}, got {len(proto.output)}")
    return found


def _kind(kind: int) -> str:
    return kind_word(kind) if kind in onnx.AttributeProto.AttributeType.values() and kind else "of no kind"


def _range(least: int, most: int, what: str) -> str:
    wanted = f"{least}" if least == most else f"at least {least}" if most == FOREVER else f"{least} to {most}"
    return f"{wanted} {what}{'' if wanted in ('1', 'at least 1') else 's'}"
