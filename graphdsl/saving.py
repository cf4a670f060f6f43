"""Models to files: complete or not at all."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx

from .emission import Emitter
from .errors import SaveError
from .external import (
    LARGEST_PROTO,
    Held,
    TooLarge,
    describe,
    is_text,
    may_leave,
    model_pieces,
    stored_bytes,
    write_data,
)
from .ir import ModelData
from .progress import bar
from .sites import at, caller

_LONG = 1 << 28
"""Writing so many bytes takes long enough for a progress bar."""

_STREAMED = 64 * 1024
"""Weights below this many bytes are copied into the model before it is written."""


def save(
    model: ModelData,
    path: str | os.PathLike[str],
    *,
    locations: bool = False,
    external_data: bool | None = None,
    size_threshold: int = 1024,
) -> None:
    """See `gd.save`."""
    target = _target(path)
    problem = f"the model cannot be written to {str(path)!r}"
    smallest = min(size_threshold, _STREAMED)
    held: list[Held] = []

    def hold(tensor: onnx.TensorProto, array: np.ndarray) -> bool:
        if array.nbytes < smallest or is_text(array):
            return False
        describe(tensor, array)
        held.append(Held(tensor, array))
        return True

    proto = Emitter(locations=locations, store=hold).model(model)
    try:
        if external_data is None:
            external_data = model_pieces(proto, _arrays(held))[0] > LARGEST_PROTO
        leaving = [item for item in held if external_data and may_leave(item.array, size_threshold)]
        staying = [item for item in held if not (external_data and may_leave(item.array, size_threshold))]
        if leaving and Path(path).is_symlink():
            raise SaveError(
                f"{problem}: it is a symbolic link, and readers look for the data file beside the link; "
                f"save to {str(target)!r}" + at(caller())
            )
        _write(proto, leaving, staying, target)
    except SaveError:
        raise
    except OSError as error:
        raise SaveError(f"{problem}: {_reason(error, target)}" + at(caller())) from error
    except TooLarge as error:
        raise SaveError(
            f"{problem}: it is larger than 2 GB without the weights that can lie in a data file, which are its "
            "initializers other than text and small integers" + at(caller())
        ) from error


def write_together(path: str | os.PathLike[str], writers: Mapping[str, Callable[[BinaryIO], None]]) -> None:
    """Write a file, and others beside it, each by its suffix: all of them complete, or none.

    The first is the file at `path`, which others only go with; they appear after it.

    Raises:
        SaveError: they cannot be written; what was there before still is.
    """
    target = _target(path)
    problem = f"{str(path)!r} cannot be written"
    if len(writers) > 1 and Path(path).is_symlink():
        raise SaveError(f"{problem}: it is a symbolic link, and readers look beside the link" + at(caller()))
    token = os.urandom(4).hex()
    targets = [target, *(target.with_suffix(suffix) for suffix in list(writers)[1:])]
    files = [(_beside(place, token), place) for place in targets]
    try:
        for (written, place), write in zip(files, writers.values(), strict=True):
            if place.exists() and not place.is_file():
                raise OSError(f"{str(place)!r} is not a regular file")
            with written.open("xb") as stream:
                write(stream)
                _settle(stream)
            if place.exists():
                shutil.copymode(place, written)
        _replace(files, token)
    except OSError as error:
        raise SaveError(f"{problem}: {_reason(error, target)}" + at(caller())) from error
    finally:
        for written, _ in files:
            with suppress(OSError):
                written.unlink(missing_ok=True)


def _arrays(held: Sequence[Held]) -> dict[str, np.ndarray]:
    return {tensor.name: array for tensor, array in held}


def _target(path: str | os.PathLike[str]) -> Path:
    """The file to write, behind symbolic links."""
    try:
        target = Path(path)
    except TypeError:
        raise SaveError(f"a path is a str or a Path, not {path!r}" + at(caller())) from None
    if not target.name or "\0" in str(target):
        raise SaveError(f"the model cannot be written to {str(path)!r}: that names no file" + at(caller()))
    return Path(os.path.realpath(target)) if target.is_symlink() else target


def _reason(error: OSError, target: Path) -> str:
    if not target.parent.is_dir():
        return f"the directory {str(target.parent)!r} does not exist; create it first"
    return error.strerror or str(error)


def _write(proto: onnx.ModelProto, leaving: Sequence[Held], staying: Sequence[Held], target: Path) -> None:
    """Write the model, and the data that leaves it, under other names; then give them theirs."""
    token = os.urandom(4).hex()
    data = target.with_name(f"{target.name}.data")
    # the data last: a new model without its data is refused by every reader, one with old data would be wrong
    files = [(_beside(path, token), path) for path in ([target, data] if leaving else [target])]
    for _, path in files:
        if path.exists() and not path.is_file():
            raise OSError(f"{str(path)!r} is not a regular file")
    try:
        if leaving:
            with files[1][0].open("xb") as stream:
                total = sum(stored_bytes(array) for _, array in leaving)
                write_data(stream, leaving, data.name, _advance(total, data.name))
                _settle(stream)
        size, found = model_pieces(proto, _arrays(staying))
        if size > LARGEST_PROTO:
            raise TooLarge
        advance = _advance(size, target.name)
        with files[0][0].open("xb") as stream:
            for piece in found:
                stream.write(piece)
                advance(len(piece))
            _settle(stream)
        for written, path in files:
            if path.exists():
                shutil.copymode(path, written)
        _replace(files, token)
    finally:
        for written, _ in files:
            written.unlink(missing_ok=True)


def _advance(size: int, name: str) -> Callable[[int], object]:
    """What is told of the bytes that are written: a progress bar, where there are many."""
    return bar(size, None if size >= _LONG else False, desc=name, unit="B", unit_scale=True)


def _beside(target: Path, token: str, kind: str = "new") -> Path:
    return target.with_name(f"{target.name}.{token}.{kind}")


def _settle(stream: BinaryIO) -> None:
    """On disk before it is renamed, so that a power cut leaves the old file or the new one."""
    stream.flush()
    os.fsync(stream.fileno())


def _replace(files: Sequence[tuple[Path, Path]], token: str) -> None:
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
            placed.append((target, written))
            written.replace(target)
    except BaseException:
        for now, before in reversed(aside + placed):
            if now.exists() and not before.exists():
                now.replace(before)
        raise
    for old, _ in aside:
        with suppress(OSError):  # Windows keeps a file that is mapped into memory
            old.unlink()
