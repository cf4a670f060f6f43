"""Models to files: complete or not at all, and data beyond protobuf's limit beside the model.

Weights of a model that would exceed 2 GB go to one data file beside it (ONNX specification, ExternalData.md). They are
written straight from their arrays, so saving takes no memory for them.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .emission import Emitter, fill_tensor
from .errors import SaveError
from .ir import ModelData
from .sites import at, caller
from .types import as_dtype

LARGEST_PROTO = 2**31 - 1
"""Protobuf neither writes nor reads more bytes than this."""

_PAGE = 4096
_GRANULARITY = 65536
"""Where Windows can map files; ExternalData.md asks for it, and small tensors need no mapping."""

_PIECE = 1 << 24
"""Bytes written at a time."""

_SHAPE_DATA = 1 << 20
"""Vectors of integers below this many bytes stay in the model: shape inference reads them."""


class Held(NamedTuple):
    """An initializer without data: its proto, and the array that it stands for."""

    tensor: TensorProto
    name: str
    array: np.ndarray


class TooLarge(Exception):
    """A proto exceeds protobuf's limit."""


def serialised(proto: onnx.ModelProto) -> bytes:
    """The bytes of a model.

    Raises:
        TooLarge: there would be more than 2 GB of them.
    """
    try:
        return bytes(proto.SerializeToString())
    except Exception as error:  # the class is protobuf's own, which is onnx's dependency and not ours
        raise TooLarge(str(error)) from error


def may_leave(array: np.ndarray, threshold: int) -> bool:
    """Whether an initializer's data can lie outside the model: not text, nor what shape inference reads."""
    if array.nbytes < threshold or array.dtype.kind in "OUST":
        return False
    return array.ndim > 1 or array.dtype.kind not in "iu" or array.nbytes >= _SHAPE_DATA


def refer(tensor: TensorProto, array: np.ndarray, **entries: object) -> None:
    """Make a tensor without data refer to data outside the model: `location`, `offset` and `length`."""
    tensor.dims.extend(array.shape)
    tensor.data_type = as_dtype(array.dtype).code
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))


def save(
    model: ModelData,
    path: str | os.PathLike[str],
    *,
    locations: bool = False,
    external_data: bool | None = None,
    size_threshold: int = 1024,
) -> None:
    """Write a model to a file, which appears there when it is complete.

    >>> import graphdsl as gd, tempfile
    >>> x = gd.input("x", gd.float32["n"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gd.save(gd.build({"y": x + 1}), f"{folder}/model.onnx")
    ...     sorted(os.listdir(folder))
    ['model.onnx']

    Args:
        model: The model.
        path: The file. One that is there is replaced.
        locations: Keep in each node's metadata where it was written.
        external_data: Whether weights go to the file `<name>.data` beside it; by default only those of a model that
            would be larger than 2 GB.
        size_threshold: Weights of fewer bytes than this stay in the model (ONNX specification, ExternalData.md).

    Raises:
        SaveError: it cannot be written; what was at the path before is still there.
        BuildError: the model has no valid names.
    """
    target = _target(path)
    held: list[Held] = []

    def hold(tensor: TensorProto, array: np.ndarray) -> bool:
        held.append(Held(tensor, tensor.name, array))
        return True

    proto = Emitter(locations=locations, store=hold).model(model)
    leaving: list[Held] = []
    if external_data is None:
        size = len(serialised(proto)) + sum(h.array.nbytes + 64 + 10 * h.array.ndim for h in held)
        external_data = size > LARGEST_PROTO
    for item in held:
        if external_data and may_leave(item.array, size_threshold):
            leaving.append(item)
        else:
            fill_tensor(item.tensor, item.name, item.array)
    if leaving and Path(path).is_symlink():
        raise SaveError(
            f"{str(path)!r} is a symbolic link, and readers look for the data file beside it; save to {str(target)!r}"
            + at(caller())
        )
    problem = f"the model cannot be written to {str(path)!r}"
    try:
        _write(proto, leaving, target)
    except OSError as error:
        raise SaveError(f"{problem}: {_reason(error, target)}" + at(caller())) from error
    except TooLarge as error:
        raise SaveError(
            f"{problem}: it is larger than 2 GB without the weights that can lie in a data file, which are its "
            "initializers other than text and small integers" + at(caller())
        ) from error


def _target(path: str | os.PathLike[str]) -> Path:
    """The file to write, behind symbolic links."""
    try:
        target = Path(path)
    except TypeError:
        raise SaveError(f"a path is a str or a Path, not {path!r}" + at(caller())) from None
    return Path(os.path.realpath(target)) if target.is_symlink() else target


def _reason(error: OSError, target: Path) -> str:
    if not target.parent.is_dir():
        return f"the directory {str(target.parent)!r} does not exist; create it first"
    return error.strerror or str(error)


def _write(proto: onnx.ModelProto, leaving: list[Held], target: Path) -> None:
    """Write the model, and the data that leaves it, under other names; then give them theirs."""
    token = secrets.token_hex(4)
    data = target.with_name(f"{target.name}.data")
    # the data last: a new model without its data is refused by every reader, one with old data would be wrong
    files = [(_beside(path, token), path) for path in ([target, data] if leaving else [target])]
    for _, path in files:
        if path.exists() and not path.is_file():
            raise OSError(f"{str(path)!r} is not a regular file")
    try:
        if leaving:
            with files[1][0].open("xb") as stream:
                _write_data(stream, leaving, data.name)
                _settle(stream)
        with files[0][0].open("xb") as stream:
            stream.write(serialised(proto))
            _settle(stream)
        for written, path in files:
            if path.exists():
                shutil.copymode(path, written)
        _replace(files, token)
    finally:
        for written, _ in files:
            written.unlink(missing_ok=True)


def _beside(target: Path, token: str, kind: str = "new") -> Path:
    return target.with_name(f"{target.name}.{token}.{kind}")


def _settle(stream: BinaryIO) -> None:
    """On disk before it is renamed, so that a power cut leaves the old file or the new one."""
    stream.flush()
    os.fsync(stream.fileno())


def _replace(files: list[tuple[Path, Path]], token: str) -> None:
    """Rename complete files to their targets: all, or none if one fails.

    Several files cannot be renamed in one step. So the old ones move aside first: whenever it is interrupted, a model
    either has its own data or none, which every reader notices.
    """
    if len(files) == 1:
        files[0][0].replace(files[0][1])
        return
    aside: list[tuple[Path, Path]] = []
    placed: list[tuple[Path, Path]] = []
    try:
        for _, target in reversed(files):
            if target.exists():
                aside.append((_beside(target, token, "old"), target))
                target.rename(aside[-1][0])
        for written, target in files:
            written.replace(target)
            placed.append((target, written))
    except BaseException:
        for now, before in reversed(aside + placed):
            if now.exists():
                now.replace(before)
        raise
    for old, _ in aside:
        with suppress(OSError):  # Windows keeps a file that is mapped into memory
            old.unlink()


def _write_data(stream: BinaryIO, leaving: Iterable[Held], location: str) -> None:
    """Write arrays one after the other, and make their tensors refer to them."""
    end = 0
    for tensor, _, array in leaving:
        step = _GRANULARITY if array.nbytes >= _GRANULARITY else _PAGE
        offset = -(-end // step) * step
        stream.seek(offset)
        end = offset
        for piece in _pieces(array):
            stream.write(piece)
            end += len(piece)
        refer(tensor, array, location=location, offset=offset, length=end - offset)


def _pieces(array: np.ndarray) -> Iterator[Any]:
    """The bytes of an array as ONNX keeps them: little endian, in row-major order, small integers packed."""
    stored, size = array.dtype.newbyteorder("<"), _PIECE // array.itemsize
    packed = as_dtype(array.dtype).bits < 8
    if packed:  # pieces must end at whole bytes, which nditer does not promise
        array = np.ascontiguousarray(array)
    pieces: Any
    if array.flags.c_contiguous and array.dtype == stored:
        whole = array.reshape(-1)
        pieces = (whole[start : start + size] for start in range(0, whole.size, size))
    else:
        flags: Any = ["external_loop", "buffered", "zerosize_ok"]
        pieces = np.nditer(array, flags, order="C", casting="equiv", op_dtypes=[stored], buffersize=size)
    for piece in pieces:
        piece = np.ascontiguousarray(piece)
        yield numpy_helper.from_array(piece).raw_data if packed else piece.view(np.uint8).data
