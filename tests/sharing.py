"""Random models that call one function with inputs of several types."""

import inspect
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

import graphdsl as gd
from graphdsl import verify
from graphdsl.errors import GraphError
from graphdsl.tracing import replay
from graphdsl.types import TensorType, tensor_type

TYPED = (
    "Shape", "Size", "Reshape", "Flatten", "Expand", "Tile", "Slice", "Transpose", "Concat", "Pad", "Squeeze",
    "Unsqueeze", "Cast", "CastLike", "Identity", "Sum", "Max", "Add", "Mul", "ReduceSum", "If", "Gather",
    "ConstantOfShape",
)  # fmt: skip
"""Operators whose results, or whether they are needed, types say something of."""


@st.composite
def sharing(draw: st.DrawFn) -> gd.Model:
    """A random model as a function, called with what the model takes and with other sizes, or floats of other width."""
    whole = draw(verify.models(TYPED if draw(st.booleans()) else None, functions=False))
    kinds = [tensor.type for tensor in whole.inputs]
    assume(kinds)
    found = [dim for kind in kinds if isinstance(kind, TensorType) for dim in kind.shape or () if dim != 1]
    sizes = {dim: draw(st.integers(1, 4)) for dim in dict.fromkeys(found)}  # what was equal stays so
    dtypes = {gd.float32: gd.float64} if draw(st.booleans()) else {}

    def body(*inputs: gd.Tensor) -> Any:
        return tuple([gd.Tensor(value) for value in replay(whole.graph, [tensor._v for tensor in inputs])])

    def other(kind: Any) -> Any:
        if not isinstance(kind, TensorType):
            return kind
        shape = None if kind.shape is None else tuple([sizes.get(dim, dim) for dim in kind.shape])
        return tensor_type(dtypes.get(kind.dtype, kind.dtype), shape)

    names = [f"x{place}" for place in range(len(kinds))]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function = gd.function(domain="shared")(body)
    given = [
        [gd.input(name + end, kind) for name, kind in zip(names, types, strict=True)]
        for end, types in (("", kinds), ("_too", [other(kind) for kind in kinds]))
    ]
    try:
        with gd.opset(whole.opset):
            results = [tensor for inputs in given for tensor in as_tuple(function(*inputs))]
            outputs = {f"y{place}": tensor for place, tensor in enumerate(results)}
            return gd.build(outputs, inputs=[*given[0], *given[1]], opset=whole.opset)
    except GraphError:  # what fits the one does not fit the other
        assume(False)
        raise


def as_tuple(returned: Any) -> tuple[Any, ...]:
    return returned if isinstance(returned, tuple) else (returned,)
