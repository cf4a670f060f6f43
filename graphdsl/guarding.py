"""What is checked of a file before anything is made of it: sizes, nesting, recursion, data in other files.

A model may come from anyone. Whatever it says of sizes is compared, in Python's integers, with what is really there.
"""

import math
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper

from .errors import LoadError, TypeSpecError
from .types import DType, as_dtype

LARGEST_EXPANSION = 1_000_000
"""How many more nodes a model may have when all calls of its functions are expanded."""

DEEPEST = 31
"""Bodies inside bodies: protobuf parses no more."""

TOO_DEEP = f"bodies are nested more than {DEEPEST} deep, which protobuf cannot parse"

_KEYS = frozenset({"location", "offset", "length", "checksum"})
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def checked_model(proto: onnx.ModelProto) -> None:
    """Refuse what is no model, or one that would grow beyond all bounds.

    Raises:
        LoadError: it has no graph, its functions call themselves, or expanding them gives too many nodes.
    """
    if not proto.HasField("graph"):
        raise LoadError("it has no graph")
    for holder in (proto, *proto.functions):
        for entry in holder.opset_import:
            if not 0 < entry.version < 2**31:
                raise LoadError(f"it imports version {entry.version} of the domain {entry.domain!r}")
    bodies: dict[tuple[str, str, str], onnx.FunctionProto] = {}
    for function in proto.functions:
        key = (plain_domain(function.domain), function.name, function.overload)
        if key in bodies:
            raise LoadError(f"the function {function.domain}::{function.name} is defined twice")
        bodies[key] = function
    if not bodies:
        return
    sizes: dict[tuple[str, str, str], int] = {}
    for key in bodies:
        _expanded(key, bodies, sizes)
    grown = _size(proto.graph.node, sizes) - _size(proto.graph.node, {})
    if grown > LARGEST_EXPANSION:
        raise LoadError(f"expanding its functions would add {grown} nodes, more than {LARGEST_EXPANSION}")


def _expanded(
    start: tuple[str, str, str],
    bodies: Mapping[tuple[str, str, str], onnx.FunctionProto],
    sizes: dict[tuple[str, str, str], int],
) -> None:
    """Count the nodes of a function with all its calls expanded, those of the functions that it calls first."""
    stack, open_ = [start], set()
    while stack:
        key = stack[-1]
        if key in sizes:
            stack.pop()
            continue
        called = {k for node in _all_nodes(bodies[key].node) if (k := _call(node)) in bodies}
        waiting = [other for other in called if other not in sizes]
        if waiting and key in open_:
            raise LoadError(f"the function {key[0]}::{key[1]} calls itself, directly or through others")
        if waiting:
            open_.add(key)
            stack.extend(waiting)
        else:
            sizes[key] = _size(bodies[key].node, sizes)
            stack.pop()


def _size(nodes: "Iterator[onnx.NodeProto] | object", sizes: Mapping[tuple[str, str, str], int]) -> int:
    return sum(sizes.get(_call(node), 1) for node in _all_nodes(nodes))


def _call(node: onnx.NodeProto) -> tuple[str, str, str]:
    return plain_domain(node.domain), node.op_type, node.overload


def plain_domain(domain: str) -> str:
    """A domain's name, empty for the default one, which has two."""
    return "" if domain == "ai.onnx" else domain


def _all_nodes(nodes: object) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of their bodies.

    Raises:
        LoadError: bodies are nested too deep.
    """
    stack = [(iter(nodes), 0)]  # type: ignore[call-overload]
    while stack:
        current, depth = stack.pop()
        if depth > DEEPEST:
            raise LoadError(TOO_DEEP)
        for node in current:
            yield node
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    stack.append((iter(attribute.g.node), depth + 1))
                stack.extend((iter(graph.node), depth + 1) for graph in attribute.graphs)


def checked_text(message: Any, *skipped: str) -> None:
    """Check that all text of a message is UTF-8, its inner messages included; protobuf reads anything.

    Raises:
        LoadError: some is not.
    """
    stack = [(message, skipped)]
    while stack:
        current, left_out = stack.pop()
        for field, value in current.ListFields():
            if field.name in left_out:
                continue
            if field.type == field.TYPE_MESSAGE:
                stack.extend([(value, ())] if hasattr(value, "ListFields") else [(item, ()) for item in value])
            elif field.type == field.TYPE_STRING:
                texts = [value] if isinstance(value, (str, bytes)) else value
                broken = next((text for text in texts if not isinstance(text, str)), None)
                if broken is not None:
                    raise LoadError(f"the {field.name} of a {current.DESCRIPTOR.name} is not UTF-8: {broken[:40]!r}")


def checked_tensor(tensor: onnx.TensorProto) -> tuple[DType, bytes | None]:
    """The dtype of a tensor whose sizes fit each other, and its raw data, if it has some.

    Raises:
        LoadError: a dimension is negative, the data is of another length, or is given twice.
    """
    try:
        dtype = as_dtype(tensor.data_type)
    except TypeSpecError:
        raise LoadError(f"the tensor {tensor.name!r} has no dtype that ONNX knows ({tensor.data_type})") from None
    dims = tuple(tensor.dims)
    if min(dims, default=0) < 0:
        raise LoadError(f"the tensor {tensor.name!r} has a negative dimension: {list(dims)}")
    if tensor.HasField("segment"):
        raise LoadError(f"the tensor {tensor.name!r} is a segment of a larger one, which is not supported")
    elsewhere = tensor.data_location == onnx.TensorProto.EXTERNAL
    raw = tensor.raw_data if tensor.HasField("raw_data") else None  # each look at it is a copy
    counts = [count for field in _FIELDS if (count := len(getattr(tensor, field)))]
    if len(counts) + bool(raw) + elsewhere > 1:
        raise LoadError(f"the tensor {tensor.name!r} gives its data twice")
    if elsewhere:
        return dtype, None
    if raw is not None and not counts:
        _check_length(tensor, dtype, len(raw))
        return dtype, raw
    count = math.prod(dims)
    if count > sum(counts) * 8 and dtype.bits:
        raise LoadError(f"the tensor {tensor.name!r} has {count} elements, and data for fewer")
    return dtype, None


def checked_sparse(sparse: onnx.SparseTensorProto) -> None:
    """Check the parts of a sparse tensor.

    Raises:
        LoadError: a part does not fit itself, or its data is in another file; or a dimension is negative.
    """
    for part in (sparse.values, sparse.indices):
        if part.data_location == onnx.TensorProto.EXTERNAL:
            raise LoadError(
                f"the sparse tensor {sparse.values.name!r} has data in another file, which is not supported"
            )
        if part.data_type:
            checked_tensor(part)
    if any(size < 0 for size in sparse.dims):
        raise LoadError(f"the sparse tensor {sparse.values.name!r} has a negative dimension: {list(sparse.dims)}")


def _check_length(tensor: onnx.TensorProto, dtype: DType, length: int) -> None:
    needed = -(-math.prod(tensor.dims) * dtype.bits // 8)
    if dtype.bits == 0:
        raise LoadError(f"the tensor {tensor.name!r} holds text as raw data")
    if length != needed:
        kind = f"{dtype.name}{list(tensor.dims)}"
        raise LoadError(f"the tensor {tensor.name!r} is {kind}, which takes {needed} bytes, but has {length}")


class DataFiles:
    """The data files beside a model: each is mapped into memory once, and read only where a tensor is used."""

    def __init__(self, folder: Path | None, *, allow_hard_links: bool = False) -> None:
        self._folder = folder
        self._allow_hard_links = allow_hard_links
        self._mapped: dict[str, tuple[mmap.mmap | None, int]] = {}

    def array(self, tensor: onnx.TensorProto, dtype: DType) -> np.ndarray:
        """The array of a tensor whose data is in another file.

        Raises:
            LoadError: the reference leads outside the model's folder, or does not fit the file or the tensor.
        """
        entries = {entry.key: entry.value for entry in tensor.external_data}
        label = f"the tensor {tensor.name!r}"
        unknown = sorted(set(entries) - _KEYS)
        if unknown or len(entries) != len(tensor.external_data):
            raise LoadError(f"{label} refers to its data in a way that is not known: {unknown or 'repeated keys'}")
        if self._folder is None:
            raise LoadError(f"{label} has its data in another file; say where with base_dir=...")
        location = entries.get("location", "")
        mapped, size = self._file(location, label)
        offset, length = (self._number(entries, key, label) for key in ("offset", "length"))
        offset = offset or 0
        length = size - offset if length is None else length
        if offset > size or length > size - offset:
            raise LoadError(
                f"{label}: bytes {offset} to {offset + length} are past the end of {location!r} ({size} bytes)"
            )
        _check_length(tensor, dtype, length)
        if not length:
            return np.zeros(tuple(tensor.dims), dtype.numpy)
        assert mapped is not None
        if dtype.bits < 8:
            packed = onnx.TensorProto(
                data_type=tensor.data_type, dims=tensor.dims, raw_data=mapped[offset : offset + length]
            )
            return np.asarray(onnx.numpy_helper.to_array(packed))
        flat = np.frombuffer(mapped, dtype.numpy.newbyteorder("<"), math.prod(tensor.dims), offset)
        return flat.astype(dtype.numpy, copy=False).reshape(tuple(tensor.dims))

    @staticmethod
    def _number(entries: Mapping[str, str], key: str, label: str) -> int | None:
        text = entries.get(key)
        if text is None or (text.isascii() and text.isdigit() and len(text) < 20):
            return None if text is None else int(text)
        raise LoadError(f"{label}: {key} is not a size: {text[:40]!r}")

    def _file(self, location: str, label: str) -> tuple[mmap.mmap | None, int]:
        found = self._mapped.get(location)
        if found is None:
            if not location or "\0" in location or location.startswith("*/"):
                raise LoadError(f"{label}: {location!r} is no file name")
            open_ = _open_linked if self._allow_hard_links else _open
            descriptor = open_(str(self._folder), location, label)
            try:
                status = os.fstat(descriptor)
                if status.st_nlink > 1 and not self._allow_hard_links:
                    raise LoadError(
                        f"{label}: {location!r} is a hard link, which may lead to another's file; "
                        "write allow_hard_links=True if it is yours"
                    )
                mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if status.st_size else None
            finally:
                os.close(descriptor)
            found = self._mapped[location] = (mapped, status.st_size)
        return found


def _open_linked(folder: str, location: str, label: str) -> int:
    """A file below a folder that may have another name elsewhere, which onnx refuses; no symbolic link is followed."""
    parts = location.replace(os.sep, "/").split("/")
    if any(part in ("", ".", "..") for part in parts) or os.open not in os.supports_dir_fd:
        raise LoadError(f"{label}: its data file {location!r} cannot be used: it must lie below the model's folder")
    descriptor = -1
    try:
        descriptor = os.open(folder or ".", os.O_RDONLY)
        for part in parts:
            above, descriptor = descriptor, os.open(part, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(above)
    except OSError as error:
        os.close(descriptor)
        raise LoadError(f"{label}: its data file {location!r} cannot be used: {error.strerror}") from None
    return descriptor


def _open(folder: str, location: str, label: str) -> int:
    """A file below a folder, opened by onnx, which refuses what leads outside: `..`, absolute paths, links."""
    native: Any = vars(external_data_helper)["c_checker"]
    opener = getattr(native, "_open_external_data", None)
    try:
        if opener is not None:
            return int(opener(folder or ".", location, label, True))
        return os.open(native._resolve_external_data_location(folder or ".", location, label), os.O_RDONLY)
    except (onnx.checker.ValidationError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        if Path(location).name == location and not os.path.lexists(Path(folder, location)):
            reason = f"there is none in {folder or '.'!r}"  # where onnx says that it is no regular file
        elif "hard links" in reason:
            reason += "; write gd.load(..., allow_hard_links=True) if they are yours"
        raise LoadError(f"{label}: its data file {location!r} cannot be used: {reason}") from None
