"""The bytes of a model and of its weights, made piece by piece from their arrays, which are never copied.

Weights lie in the model, or in a data file beside it (ONNX specification, ExternalData.md).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .types import as_dtype
from .wire import field

LARGEST_PROTO = 2**31 - 1
"""Protobuf neither writes nor reads more bytes than this."""

_PAGE = 4096
_GRANULARITY = 65536
"""Where Windows can map files; ExternalData.md asks for it, and small tensors need no mapping."""

_PIECE = 1 << 24
"""Bytes written at a time."""

_SHAPE_DATA = 1 << 20
"""Vectors of integers below this many bytes stay in the model: shape inference reads them."""

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Field numbers in `ModelProto`, `GraphProto` and `TensorProto`."""


class TooLarge(Exception):
    """A model exceeds protobuf's limit."""


class Held(NamedTuple):
    """An initializer without data, and the array that it stands for."""

    tensor: TensorProto
    array: np.ndarray


def is_text(array: np.ndarray) -> bool:
    """Whether an array holds text, whose bytes ONNX keeps one by one."""
    return array.dtype.kind in "OUST"


def may_leave(array: np.ndarray, threshold: int) -> bool:
    """Whether an initializer's data can lie outside the model: not text, nor what shape inference reads."""
    if array.nbytes < threshold or is_text(array):
        return False
    return array.ndim > 1 or array.dtype.kind not in "iu" or array.nbytes >= _SHAPE_DATA


def describe(tensor: TensorProto, array: np.ndarray) -> None:
    """Give a tensor the shape and dtype of an array, unless it has them from a file, and no data."""
    if not tensor.data_type:
        tensor.dims.extend(array.shape)
        tensor.data_type = as_dtype(array.dtype).code


def refer(tensor: TensorProto, **entries: object) -> None:
    """Make a tensor without data refer to data outside the model: `location`, `offset` and `length`."""
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))


def write_data(
    stream: BinaryIO, leaving: Iterable[Held], location: str, advance: Callable[[int], object] = lambda done: None
) -> None:
    """Write arrays one after the other to a data file, and make their tensors refer to it.

    `advance` is told of the bytes of each piece that is written.
    """
    end = 0
    for tensor, array in leaving:
        step = _GRANULARITY if array.nbytes >= _GRANULARITY else _PAGE
        offset = -(-end // step) * step
        stream.seek(offset)
        for piece in pieces(array):
            stream.write(piece)
            advance(len(piece))
        end = offset + stored_bytes(array)
        refer(tensor, location=location, offset=offset, length=end - offset)


def stored_bytes(array: np.ndarray) -> int:
    """How many bytes ONNX keeps for an array that is not text."""
    bits = as_dtype(array.dtype).bits
    return -(-array.size * bits // 8)


def pieces(array: np.ndarray) -> Iterator[Any]:
    """The bytes of an array as ONNX keeps them: little endian, in row-major order, small integers packed."""
    stored, size = array.dtype.newbyteorder("<"), _PIECE // array.itemsize
    packed = as_dtype(array.dtype).bits < 8
    if packed:  # pieces must end at whole bytes, which nditer does not promise
        array = np.ascontiguousarray(array)
    found: Any
    if array.flags.c_contiguous and array.dtype == stored:
        whole = array.reshape(-1)
        found = (whole[start : start + size] for start in range(0, whole.size, size))
    else:
        flags: Any = ["external_loop", "buffered", "zerosize_ok"]
        found = np.nditer(array, flags, order="C", casting="equiv", op_dtypes=[stored], buffersize=size)
    for piece in found:
        piece = np.ascontiguousarray(piece)
        yield numpy_helper.from_array(piece).raw_data if packed else piece.view(np.uint8).data


def serialised(proto: Any) -> bytes:
    """The bytes of a proto.

    Raises:
        TooLarge: there would be more than 2 GB of them.
    """
    try:
        return bytes(proto.SerializeToString())
    except Exception as error:  # the class is protobuf's own, which is onnx's dependency and not ours
        raise TooLarge(str(error)) from error


def model_pieces(proto: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> tuple[int, Iterator[Any]]:
    """The number of bytes of a model whose initializers have these arrays as data, by name; and the bytes.

    They are what protobuf would write, had it been given copies of the arrays: fields in the order of their numbers.
    """
    if not arrays:
        whole = serialised(proto)
        return len(whole), iter([whole])
    before, after = _split(proto, _GRAPH)
    nodes, rest = _split(proto.graph, _INITIALIZER)
    parts: list[tuple[bytes, np.ndarray | None, bytes]] = []
    length = len(nodes) + len(rest)
    for tensor in proto.graph.initializer:
        array = arrays.get(tensor.name)
        data = 0
        head, tail = serialised(tensor), b""
        if array is not None:
            data = stored_bytes(array)
            head, tail = _split(tensor, _RAW_DATA)
            head += field(_RAW_DATA, data)
        head = field(_INITIALIZER, len(head) + data + len(tail)) + head
        parts.append((head, array, tail))
        length += len(head) + data + len(tail)
    graph = field(_GRAPH, length)

    def found() -> Iterator[Any]:
        yield before + graph + nodes
        for head, array, tail in parts:
            yield head
            if array is not None:
                yield from pieces(array)
            yield tail
        yield rest + after

    return len(before) + len(graph) + length + len(after), found()


_Proto = TypeVar("_Proto", onnx.ModelProto, onnx.GraphProto, onnx.TensorProto)


def _split(proto: _Proto, number: int) -> tuple[bytes, bytes]:
    """The bytes of the fields before and behind the one of this number."""
    before, after = type(proto)(), type(proto)()
    for part, value in proto.ListFields():
        if part.number == number:
            continue
        side: Any = before if part.number < number else after
        if part.message_type is None and not isinstance(value, (str, bytes, int, float)):
            getattr(side, part.name).extend(value)
        elif part.message_type is None:
            setattr(side, part.name, value)
        else:
            getattr(side, part.name).MergeFrom(value)
    return serialised(before), serialised(after)
