"""What `gd.load` is given, as a proto that is ours: files, bytes and protos."""

import os
from pathlib import Path

import onnx

from ..errors import LoadError, TypeSpecError
from ..garbage import undisturbed
from ..guarding import (
    TOO_DEEP,
    DataFiles,
    checked_model,
)
from ..ir import (
    ModelData,
)
from ..models import Model
from ..sites import Site, at, caller
from .graphs import Loader

Source = str | os.PathLike[str] | bytes | onnx.ModelProto


def load(source: Source, base_dir: str | os.PathLike[str] | None = None, *, allow_hard_links: bool = False) -> Model:
    """A model from a file, from bytes or from a `ModelProto`, of any opset.

    What the file says is kept: names, order, documentation, metadata, functions, unknown fields. Weights in data files
    beside the model are mapped into memory, not read.

    Args:
        source: A path, the bytes of a model, or a proto, which is not changed.
        base_dir: Where the data files of a model given as bytes or proto are; a path's own folder by default.
        allow_hard_links: Accept data files that have another name elsewhere, as stores that share files make them.

    Raises:
        LoadError: it is not a model, or not one that can be accepted; the message says why.
    """
    site = caller()
    proto, folder = _read(source, base_dir, site)
    try:
        checked_model(proto)
        with undisturbed():
            return Loader(proto, DataFiles(folder, allow_hard_links=allow_hard_links)).model()
    except LoadError as error:
        raise LoadError(f"{_label(source)}: {error}" + at(site)) from None
    except TypeSpecError as error:
        raise LoadError(f"{_label(source)}: {error}" + at(site)) from error
    except RecursionError:
        raise LoadError(f"{_label(source)}: functions call each other too deeply to be followed" + at(site)) from None


def opened(model: ModelData | Source) -> Model:
    """The model that a tool is given: a `Model`, or what `load` takes."""
    return model if isinstance(model, Model) else load(model)  # type: ignore[arg-type]


def _label(source: Source) -> str:
    return repr(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else "the model"


def _read(
    source: Source, base_dir: str | os.PathLike[str] | None, site: Site | None
) -> tuple[onnx.ModelProto, Path | None]:
    folder = None if base_dir is None else Path(base_dir)
    if isinstance(source, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(source)
        return copy, folder
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise LoadError(f"{_label(source)} cannot be read: {error.strerror or error}" + at(site)) from None
        folder = path.parent if folder is None else folder
    elif isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
    else:
        raise LoadError(f"gd.load takes a path, bytes or a ModelProto, got {type(source).__name__}" + at(site))
    if not content:
        raise LoadError(f"{_label(source)} is empty" + at(site))
    try:
        return onnx.ModelProto.FromString(content), folder
    except Exception as error:  # protobuf's DecodeError has no public name in all its versions
        reason = TOO_DEEP if "MaxDepth" in str(error) else f"it is not an ONNX model: {error}"
        raise LoadError(f"{_label(source)}: {reason}" + at(site)) from None
