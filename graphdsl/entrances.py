"""Tools that lower layers have for models alone, for whatever `gd.load` takes as well."""

import os
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from . import saving
from .ir import Node, Value
from .loading import Source, opened
from .models import Model
from .tracing import replay
from .transforming import sweep
from .walk import operators


def inline(model: Model | Source) -> Model:
    """The model with every call of a local function, in bodies and other functions too, replaced by its body.

    Everything else stays as it is; tensors that calls made keep their names.

    >>> import graphdsl as gd
    >>> @gd.function(domain="my")
    ... def my_add(a, b):
    ...     return 2 * a + b
    >>> x = gd.input("x", gd.float32[3])
    >>> [node.op_type for node in gd.inline(gd.build(my_add(x, x))).nodes]
    ['Mul', 'Add']

    Args:
        model: A model, which is not changed, or what `gd.load` takes.

    ONNX specification: IR.md, "Functions".
    """
    whole = opened(model)
    if not whole.functions:
        return whole

    def visit(node: Node) -> Sequence[Value] | None:
        return _expanded(node) if node.schema.function is not None else None

    plain = sweep(replace(whole, functions=()), visit)
    used = {schema.domain for schema in operators(plain.graph)} | {""}
    imports = {domain: version for domain, version in plain.opset_imports.items() if domain in used}
    return replace(plain, functions=(), opset_imports=MappingProxyType(imports))


def _expanded(node: Node) -> tuple[Value, ...]:
    """The nodes of a function in the place of a call, whose outputs keep their names."""
    function = node.schema.function
    assert function is not None
    given = [*node.inputs, *[None] * (len(function.graph.inputs) - len(node.inputs))]
    found = replay(function.graph, given, {**function.defaults, **node.attributes}, expand=True)
    ends: dict[Value, str | None] = {}
    for value, output in zip(found, node.outputs, strict=False):
        if value not in given and value.node is not None:
            ends.setdefault(value, output.name)
    for value, name in ends.items():
        value.name = name or value.name
    return found


def save(
    model: Model | Source,
    path: str | os.PathLike[str],
    *,
    locations: bool = False,
    external_data: bool | None = None,
    size_threshold: int = 1024,
) -> None:
    """Write a model to a file, which appears there when it is complete; a long write shows a bar where tqdm is.

    >>> import graphdsl as gd, tempfile
    >>> x = gd.input("x", gd.float32["n"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gd.save(gd.build({"y": x + 1}), f"{folder}/model.onnx")
    ...     sorted(os.listdir(folder))
    ['model.onnx']

    Args:
        model: A model, or what `gd.load` takes.
        path: The file. One that is there is replaced.
        locations: Keep in each node's metadata where it was written.
        external_data: Whether weights go to the file `<name>.data` beside it; by default only those of a model that
            would be larger than 2 GB.
        size_threshold: Weights of fewer bytes than this stay in the model (ONNX specification, ExternalData.md).

    Raises:
        SaveError: it cannot be written; what was at the path before is still there.
        BuildError: the model has no valid names.
    """
    saving.save(opened(model), path, locations=locations, external_data=external_data, size_threshold=size_threshold)
