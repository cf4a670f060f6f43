"""Shapes of attention, spectra and the like, each by its own formula. ONNX specification, Operators.md."""

from ..dims import Axis
from .call import Call, Proposal, Unknown, axis_of, size_of


def attention(call: Call) -> Proposal:
    """Attention: of tensors with an axis of heads, or with the heads joined in the last axis."""
    query, key, value = call.shape(0), call.shape(1), call.shape(2)
    past = call.shape(4)[2] if call.has(4) else 0
    if len(query) == len(key) == len(value) == 4:
        batch, heads, length, _ = query
        key_heads, key_length, size, value_size = key[1], key[2], key[3], value[3]
        found = [batch, heads, length, value_size]
    elif len(query) == len(key) == len(value) == 3:
        heads, key_heads = call.attribute("q_num_heads"), call.attribute("kv_num_heads")
        if not heads or not key_heads:
            raise Unknown
        batch, length, _ = query
        key_length = key[1]
        size, value_size = _part(key[2], key_heads), _part(value[2], key_heads)
        found = [batch, length, None if value_size is None else value_size * heads]
    else:
        raise Unknown
    total = None if past is None or key_length is None else past + key_length
    outputs = [found, [batch, key_heads, total, size], [batch, key_heads, total, value_size]]
    return [*outputs, [batch, heads, length, total]][: call.count]


def _part(size: Axis, count: int) -> Axis:
    return None if size is None else size // count


def fourier(call: Call) -> Proposal:
    """DFT: of as many points as `dft_length` says; one-sided, half of the spectrum or the signal of half of one."""
    shape = call.shape(0)
    if call.has(2):
        (axis,) = call.elements(2)
    else:
        axis = call.attribute("axis", 1 if "axis" in call.schema.attributes else -2)
    onesided, inverse = call.attribute("onesided", 0), call.attribute("inverse", 0)
    found: list[Axis] = [*shape[:-1], 1 if onesided and inverse else 2]
    if axis is None:
        same = not onesided and not call.has(1)
        return [found if same else [*[None] * (len(shape) - 1), found[-1]]]
    axis = axis_of(axis, shape)
    length: Axis = size_of(call.elements(1)[0]) if call.has(1) else shape[axis]
    if onesided and length is not None:
        length = length // 2 + 1 if not inverse else length if call.has(1) else 2 * (length - 1)
    found[axis] = length
    return [found]


def short_fourier(call: Call) -> Proposal:
    """STFT: the places of a window, and for each the spectrum, one-sided where nothing else is said."""
    signal = call.shape(0)
    (step,) = call.elements(1)
    if call.has(3):
        (width,) = call.elements(3)
    else:
        width = call.shape(2)[0]
    bins: Axis = None
    parts: Axis = None
    if width is not None:
        bins = width // 2 + 1 if call.attribute("onesided", 1) else width
    if width is not None and step is not None and signal[1] is not None:
        parts = (signal[1] - width) // step + 1
    return [[signal[0], parts, bins, 2]]


def window_function(call: Call) -> Proposal:
    """BlackmanWindow, HammingWindow, HannWindow."""
    return [[size_of(call.elements(0)[0])]]


def affine_grid(call: Call) -> Proposal:
    """AffineGrid: an image of the size given, and the coordinates of each point."""
    batch, _, *spatial = map(size_of, call.elements(1))
    return [[batch, *spatial, len(spatial)]]
