"""What a model declares of its outputs where a user knows more than inference: ranks, sizes, names of dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from .errors import BuildError, nearest
from .ir import Input, Output, Value
from .sites import Site, at
from .types import as_type, is_type, may_be, to_proto


def declared(outputs: Sequence[Output], types: Any, what: str, site: Site | None) -> dict[Value, bytes]:
    """The declarations of outputs, from a type, types in order, or types by output name; None for what is inferred.

    Raises:
        BuildError: there is no such output, or it cannot be of that type.
    """
    found: dict[Value, bytes] = {}
    for output, spec in _paired(outputs, types, what, site):
        label = f"the output {output.name or output.value.name!r}" if output.name or output.value.name else "an output"
        if not is_type(spec):
            raise BuildError(f"{what}: {label} is declared {spec!r}, which is no type" + at(site))
        kind = as_type(spec)
        if isinstance(output.value, Input):
            raise BuildError(f"{what}: {label} is the input {output.value.name!r}; declare its type there" + at(site))
        if not may_be(output.value.type, kind):
            raise BuildError(f"{what}: {label} is declared {kind!r}, but it is {output.value.type!r}" + at(site))
        found[output.value] = onnx.ValueInfoProto(type=to_proto(kind)).SerializeToString()
    return found


def _paired(outputs: Sequence[Output], types: Any, what: str, site: Site | None) -> list[tuple[Output, Any]]:
    if types is None:
        return []
    if isinstance(types, Mapping):
        named = {name or value.name: Output(name, value) for name, value in outputs}
        for name in types:
            if name not in named:
                hint = nearest(str(name), [key for key in named if key])
                raise BuildError(f"{what}: there is no output {name!r} to declare{hint}" + at(site))
        return [(named[name], spec) for name, spec in types.items() if spec is not None]
    listed = list(types) if isinstance(types, (list, tuple)) else [types]
    if len(listed) != len(outputs):
        raise BuildError(f"{what}: {len(listed)} types are declared, for {len(outputs)} outputs" + at(site))
    return [(output, spec) for output, spec in zip(outputs, listed, strict=True) if spec is not None]


def annotated(annotation: Any) -> Any:
    """The declarations that the return annotation of a model's function makes; None where it is something else."""
    items = annotation.values() if isinstance(annotation, Mapping) else annotation
    items = items if isinstance(annotation, (Mapping, list, tuple)) else [annotation]
    return annotation if items and all(item is None or is_type(item) for item in items) else None
