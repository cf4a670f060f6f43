"""What ONNX's inference does not see of one node: expressions over named dimensions, sizes that can never agree.

Every rule only sharpens or rejects what `onnx.shape_inference` found for the node; none may contradict it. A rule
proposes whole shapes, also where ONNX knows them, so that every call of the library is a test of the rules.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..dims import Axis
from ..errors import TypeSpecError
from ..ir import Value
from ..schemas import Schema
from ..types import TensorType, Type, tensor_type
from . import agreement, moves, special, windows
from .agreement import differ, strict_shapes
from .call import Call, Proposal, Unknown
from .windows import mistaken

__all__ = ["is_settled", "mistaken", "sharpen", "strict_shapes"]

Types = tuple[Type | None, ...]
Inputs = tuple[Value | None, ...]


def sharpen(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any], types: Types) -> Types:
    """The output types with all that is known put in.

    Raises:
        ValueError: the node cannot run; the message says why.
    """
    if schema.domain:
        return types
    call = Call(schema, inputs, attributes, len(types))
    agreement.check(call)
    rule = _RULES.get(schema.name)
    if rule is None:
        return types
    try:
        proposed = rule(call)
    except (Unknown, TypeSpecError, ZeroDivisionError, IndexError):  # nothing to say, or too long an expression
        return types
    return tuple([_merged(call, found, shape) for found, shape in zip(types, proposed, strict=True)])


def is_settled(schema: Schema, inputs: Inputs, attributes: Mapping[str, Any]) -> bool:
    """Whether the answer for a call is the same under `strict_shapes` and without, so that it may be remembered."""
    return bool(schema.domain) or agreement.settled(Call(schema, inputs, attributes, 0))


def _merged(call: Call, found: Type | None, proposed: Sequence[Axis] | None) -> Type | None:
    """What ONNX found, with the proposed sizes in the place of those it does not know."""
    if not isinstance(found, TensorType) or proposed is None:
        return found
    proposed = [None if isinstance(size, int) and size < 0 else size for size in proposed]
    if found.shape is None or _errs(call):
        return tensor_type(found.dtype, proposed)
    if len(found.shape) != len(proposed) or any(map(differ, found.shape, proposed)):
        warnings.warn(
            f"{call.schema.label}: ONNX infers {found!r}, graphdsl the shape {tuple(proposed)}; "
            "one of them errs, please report it",
            RuntimeWarning,
            stacklevel=2,
        )
        return found
    if None not in found.shape:
        return found
    return tensor_type(
        found.dtype, [new if old is None else old for old, new in zip(found.shape, proposed, strict=True)]
    )


_MISTAKEN = {"Attention", "DFT", "STFT"}
_MISTAKEN_ROUNDING_UP = {"AveragePool", "LpPool", "MaxPool"}
"""Operators of whose shapes ONNX's inference says what is not so (docs/upstream.md): here the rules count."""


def _errs(call: Call) -> bool:
    """Whether ONNX's inference may err about a call."""
    name = call.schema.name
    return name in _MISTAKEN or (name in _MISTAKEN_ROUNDING_UP and bool(call.attribute("ceil_mode", 0)))


_RULES: dict[str, Callable[[Call], Proposal]] = {
    "AffineGrid": special.affine_grid,
    "Attention": special.attention,
    "AveragePool": windows.pooling,
    "BlackmanWindow": special.window_function,
    "CenterCropPad": moves.center_crop_pad,
    "Col2Im": windows.columns_to_image,
    "Concat": moves.concat,
    "ConstantOfShape": moves.filled,
    "Conv": windows.convolution(1),
    "ConvInteger": windows.convolution(1),
    "ConvTranspose": windows.transposed_convolution,
    "DFT": special.fourier,
    "DeformConv": windows.convolution(1),
    "DepthToSpace": moves.depth_to_space,
    "Expand": moves.expand,
    "Flatten": moves.flatten,
    "GatherND": moves.gather_nd,
    "HammingWindow": special.window_function,
    "HannWindow": special.window_function,
    "LpPool": windows.pooling,
    "MaxPool": windows.pooling,
    "MaxUnpool": windows.unpooling,
    "OneHot": moves.one_hot,
    "Pad": moves.pad,
    "QLinearConv": windows.convolution(3),
    "Range": moves.range_,
    "Reshape": moves.reshape,
    "Resize": windows.resize,
    "STFT": special.short_fourier,
    "Slice": moves.slice_,
    "SpaceToDepth": moves.space_to_depth,
    "Split": moves.split,
    "Squeeze": moves.squeeze,
    "Tile": moves.tile,
    "TopK": moves.top_k,
    "Unsqueeze": moves.unsqueeze,
    "Upsample": windows.upsample,
}
"""The rules, by operator; `ranks` knows more of ranks alone."""
