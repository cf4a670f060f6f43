"""Models to files: the bytes that protobuf would write, complete or not at all, with large weights beside them."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

import graphdsl as gd
from graphdsl import external, op, saving
from graphdsl.external import model_pieces, pieces, stored_bytes
from graphdsl.types import DTYPES

STORED = [dtype for dtype in DTYPES if dtype.kind != "string"]


@gd.model
def linear_func(a: gd.float32[10, 10], x: gd.float32[10, 10], b: gd.float32[10, 10]):
    return a * x + b


def weights(*arrays: np.ndarray) -> gd.Model:
    """A model that returns its weights."""
    return gd.build({f"y{i}": op.Identity(gd.constant(a, f"w{i}")) for i, a in enumerate(arrays)})


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).random(shape, dtype=np.float32)


def names(folder: Path) -> list[str]:
    """The names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def ran(path: Path) -> list[np.ndarray]:
    """What a saved model without inputs returns when ONNX Runtime loads the file itself."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {})


# One file


def test_a_saved_file_is_the_proto_s_bytes(tmp_path: Path) -> None:
    linear_func.save(tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    assert content == linear_func.to_proto().SerializeToString()
    onnx.checker.check_model(content, full_check=True)


def test_gd_save_and_paths_as_text(tmp_path: Path) -> None:
    gd.save(linear_func, f"{tmp_path}/m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == linear_func.to_proto().SerializeToString()


def test_locations_are_saved_when_asked_for(tmp_path: Path) -> None:
    linear_func.save(tmp_path / "m.onnx", locations=True)
    metadata = onnx.load(tmp_path / "m.onnx").graph.node[0].metadata_props
    assert [entry.key for entry in metadata] == ["graphdsl.location"]
    assert metadata[0].value.endswith("in linear_func: return a * x + b")


def rich_model() -> gd.Model:
    """A model with every field that a proto of ours can have, and weights of every stored dtype."""
    x, flag = gd.input("x", gd.float32["n", 3]), gd.input("flag", gd.bool[()])
    constants = [gd.constant(np.arange(30).reshape(2, 15).astype(d.numpy), f"w_{d}") for d in STORED]
    outputs = {f"out_{d}": c for d, c in zip(STORED, constants, strict=True)}
    text = gd.constant(np.array(["a", "b"], object), "text")
    body = op.If(flag, then_branch=lambda: x * random(3), else_branch=lambda: (-x).named("kept"))
    model = gd.build({"y": body, "text_out": op.Identity(text), **outputs}, name="rich")
    return replace(
        model,
        metadata={"key": "value", "kéy": ""},
        doc="documentation",
        producer_version="1",
        domain="my",
        model_version=-3,
        graph=replace(model.graph, extras=onnx.GraphProto(doc_string="of the graph").SerializeToString()),
    )


def test_streamed_weights_give_the_same_bytes_as_copied_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for streamed in (0, 1 << 30):
        monkeypatch.setattr(saving, "_STREAMED", streamed)
        for model in (rich_model(), linear_func, weights(random(100, 200), random(3).T, np.float32(1))):
            model.save(tmp_path / "m.onnx", size_threshold=0)
            assert (tmp_path / "m.onnx").read_bytes() == model.to_proto().SerializeToString()


@given(st.lists(st.integers(0, 200), min_size=0, max_size=4), st.integers(0, 3))
def test_the_length_of_a_model_is_known_before_it_is_written(sizes: list[int], name: int) -> None:
    proto = onnx.ModelProto(ir_version=8, producer_name="p" * name * 60)
    proto.graph.name = "g"
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    arrays = {f"w{i}": np.arange(size * 10, dtype=np.float32) for i, size in enumerate(sizes)}
    for key, array in arrays.items():
        external.describe(proto.graph.initializer.add(name=key), array)
        whole.graph.initializer.append(numpy_helper.from_array(array, key))
    length, found = model_pieces(proto, arrays)
    content = b"".join(map(bytes, found))
    assert content == whole.SerializeToString()
    assert length == len(content)


@pytest.mark.parametrize("dtype", STORED, ids=repr)
@pytest.mark.parametrize("piece", [64, 1 << 24])
def test_pieces_of_an_array_are_what_onnx_stores(dtype: gd.DType, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "_PIECE", piece)
    whole = np.arange(7 * 5 * 3).reshape(7, 5, 3).astype(dtype.numpy)
    for array in (whole, whole[::2], whole.T, whole[:, 1], whole[0, 0, 0].reshape(()), whole[:0]):
        stored = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape)).raw_data
        assert b"".join(map(bytes, pieces(array))) == stored
        assert stored_bytes(array) == len(stored)


def test_pieces_of_arrays_in_another_byte_order_are_little_endian() -> None:
    array = np.arange(5, dtype=">f4")
    assert b"".join(map(bytes, pieces(array))) == array.astype("<f4").tobytes()


# Data beside the model


def test_weights_go_to_a_data_file_when_asked_to(tmp_path: Path) -> None:
    arrays = [random(100, 200), random(7), random(40, 30).T, np.arange(600).reshape(20, 30) % 2 == 0, random(3000)]
    weights(*arrays).save(tmp_path / "m.onnx", external_data=True)
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    for loaded, array in zip(ran(tmp_path / "m.onnx"), arrays, strict=True):
        assert loaded.dtype == array.dtype
        assert np.array_equal(loaded, array)
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    places = {t.name: {e.key: e.value for e in t.external_data} for t in proto.graph.initializer}
    assert places == {
        "w0": {"location": "m.onnx.data", "offset": "0", "length": "80000"},
        "w1": {},
        "w2": {"location": "m.onnx.data", "offset": "81920", "length": "4800"},
        "w3": {},
        "w4": {"location": "m.onnx.data", "offset": "90112", "length": "12000"},
    }
    assert (tmp_path / "m.onnx.data").stat().st_size == 90112 + 12000


def test_large_tensors_start_where_every_system_can_map_them(tmp_path: Path) -> None:
    weights(random(300), random(200, 100), random(5), random(100, 200)).save(
        tmp_path / "m.onnx", external_data=True, size_threshold=0
    )
    proto = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    offsets = {t.name: int({e.key: e.value for e in t.external_data}["offset"]) for t in proto.graph.initializer}
    assert offsets == {"w0": 0, "w1": 65536, "w2": 147456, "w3": 196608}


@pytest.mark.parametrize("dtype", [d for d in STORED if d.bits == 4 or d.name == "bfloat16"], ids=repr)
def test_rare_dtypes_are_read_back_from_the_data_file(dtype: gd.DType, tmp_path: Path) -> None:
    array = (np.arange(3 * 1001).reshape(3, 1001) % 5).astype(dtype.numpy)
    model = gd.build({"y": gd.constant(array, "w")})
    model.save(tmp_path / "m.onnx", external_data=True)
    (tensor,) = onnx.load(tmp_path / "m.onnx").graph.initializer
    assert (tmp_path / "m.onnx.data").stat().st_size == stored_bytes(array)
    assert numpy_helper.to_array(tensor).tobytes() == array.tobytes()


def test_text_and_what_shape_inference_reads_stay_in_the_model(tmp_path: Path) -> None:
    x = gd.input("x", gd.float32[600, 2])
    first = op.Split(x, np.ones(600, np.int64), axis=0, outputs=600)[0]
    text = gd.constant(np.array(["long text"] * 500, object))
    gd.build({"first": first, "text": op.Identity(text)}).save(tmp_path / "m.onnx", external_data=True)
    assert names(tmp_path) == ["m.onnx"]
    onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "m.onnx"), strict_mode=True, data_prop=True)


def test_a_model_beyond_the_limit_goes_to_a_data_file_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = weights(random(100, 200))
    size = model.to_proto().ByteSize()
    for limit, files in ((size, ["m.onnx"]), (size - 1, ["m.onnx", "m.onnx.data"])):
        monkeypatch.setattr(saving, "LARGEST_PROTO", limit)
        model.save(tmp_path / "m.onnx")
        assert names(tmp_path) == files
        assert np.array_equal(ran(tmp_path / "m.onnx")[0], random(100, 200))


def test_what_cannot_leave_a_model_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "LARGEST_PROTO", 1000)
    for options in ({}, {"external_data": True}, {"external_data": False}):
        with pytest.raises(gd.SaveError) as caught:
            weights(np.arange(1000)).save(tmp_path / "m.onnx", **options)
        assert str(caught.value).splitlines()[0] == (
            f"the model cannot be written to {str(tmp_path / 'm.onnx')!r}: it is larger than 2 GB without the weights "
            "that can lie in a data file, which are its initializers other than text and small integers"
        )
    assert names(tmp_path) == []


# Replacing


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    path.chmod(0o640)
    linear_func.save(path)
    assert path.read_bytes() == linear_func.to_proto().SerializeToString()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps files that are mapped")
def test_a_model_may_replace_the_data_that_it_is_mapped_from(tmp_path: Path) -> None:
    path, array = tmp_path / "m.onnx", random(300, 100)
    weights(array).save(path, external_data=True)
    mapped = np.memmap(f"{path}.data", np.float32, "r", shape=array.shape)
    for _ in range(2):
        weights(mapped.view(np.ndarray)).save(path, external_data=True)
        assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
        assert np.array_equal(ran(path)[0], array)
    assert np.array_equal(mapped, array)


def test_saving_twice_does_not_append(tmp_path: Path) -> None:
    for _ in range(2):
        weights(random(100, 200)).save(tmp_path / "m.onnx", external_data=True)
    assert (tmp_path / "m.onnx.data").stat().st_size == 80000


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_link_is_written_through_unless_data_would_be_lost(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "m.onnx", tmp_path / "there" / "model.onnx"
    link.symlink_to(target)
    linear_func.save(link)
    assert link.is_symlink()
    assert target.read_bytes() == linear_func.to_proto().SerializeToString()
    with pytest.raises(gd.SaveError) as caught:
        weights(random(100, 200)).save(link, external_data=True)
    assert str(caught.value).splitlines()[0] == (
        f"the model cannot be written to {str(link)!r}: it is a symbolic link, and readers look for the data file "
        f"beside the link; save to {str(target)!r}"
    )
    assert names(target.parent) == ["model.onnx"]


# Nothing half written


def snapshot(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def refused(save: Callable[[], None], folder: Path) -> str:
    """The message of a save that fails and leaves everything as it was."""
    before = snapshot(folder)
    with pytest.raises(gd.SaveError) as caught:
        save()
    assert isinstance(caught.value, OSError)
    assert snapshot(folder) == before
    return str(caught.value).splitlines()[0].replace(str(folder), "FOLDER")


def test_the_judge_rejects_what_leaves_files_behind(tmp_path: Path) -> None:
    def littering() -> None:
        (tmp_path / "litter").write_bytes(b"")
        raise gd.SaveError("failed")

    with pytest.raises(AssertionError):
        refused(littering, tmp_path)


def test_a_missing_directory(tmp_path: Path) -> None:
    assert refused(lambda: linear_func.save(tmp_path / "no" / "m.onnx"), tmp_path) == (
        "the model cannot be written to 'FOLDER/no/m.onnx': the directory 'FOLDER/no' does not exist; create it first"
    )


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (folder := tmp_path / "in" / "m.onnx.data").mkdir(parents=True)
    assert refused(lambda: linear_func.save(folder), folder) == (
        "the model cannot be written to 'FOLDER': 'FOLDER' is not a regular file"
    )
    data = lambda: weights(random(100, 200)).save(folder.with_name("m.onnx"), external_data=True)  # noqa: E731
    assert refused(data, folder).endswith("'FOLDER' is not a regular file")
    assert names(folder.parent) == ["m.onnx.data"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device")
def test_a_device_is_no_file(tmp_path: Path) -> None:
    assert refused(lambda: linear_func.save("/dev/full"), tmp_path) == (
        "the model cannot be written to '/dev/full': '/dev/full' is not a regular file"
    )
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.parametrize("path", [".", "", "a\0b"])
def test_what_names_no_file_is_refused(path: str) -> None:
    with pytest.raises(gd.SaveError, match=r"cannot be written to .*: that names no file\n.*test_saving.py"):
        gd.build(gd.input("x", gd.float32[2]) + 1).save(path)


def test_what_is_no_path_is_refused(tmp_path: Path) -> None:
    model: Any = linear_func
    assert refused(lambda: model.save(3), tmp_path) == "a path is a str or a Path, not 3"


def full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("external_data", [False, True])
def test_a_full_disk_leaves_the_old_model(external_data: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights(random(50, 50)).save(tmp_path / "m.onnx", external_data=True)
    monkeypatch.setattr(os, "fsync", full_disk)
    save = lambda: weights(random(100, 200)).save(tmp_path / "m.onnx", external_data=external_data)  # noqa: E731
    assert refused(save, tmp_path) == "the model cannot be written to 'FOLDER/m.onnx': No space left on device"
    monkeypatch.undo()
    assert np.array_equal(ran(tmp_path / "m.onnx")[0], random(50, 50))


@pytest.mark.parametrize("fatal", [OSError(errno.EACCES, "Permission denied"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("has_old", [True, False])
def test_a_failing_rename_leaves_the_old_model(
    step: int, has_old: bool, fatal: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_old:
        weights(random(50, 50)).save(tmp_path / "m.onnx", external_data=True)
    before = snapshot(tmp_path)
    calls = iter(range(10))

    def failing(name: str) -> Any:
        original = getattr(Path, name)

        def rename(self: Path, target: Path) -> Path:
            if next(calls) == step:
                raise fatal
            return original(self, target)

        return rename

    monkeypatch.setattr(Path, "rename", failing("rename"))
    monkeypatch.setattr(Path, "replace", failing("replace"))
    if step >= (4 if has_old else 2):
        weights(random(100, 200)).save(tmp_path / "m.onnx", external_data=True)
        assert np.array_equal(ran(tmp_path / "m.onnx")[0], random(100, 200))
        assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
        return
    with pytest.raises(KeyboardInterrupt if isinstance(fatal, KeyboardInterrupt) else gd.SaveError):
        weights(random(100, 200)).save(tmp_path / "m.onnx", external_data=True)
    assert snapshot(tmp_path) == before


def test_a_model_that_cannot_be_emitted_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"old")
    x = gd.input("x", gd.float32["n"])
    model = gd.build({"y": x + 1, "z": x - 1})
    twice = tuple(output._replace(name="y") for output in model.graph.outputs)
    broken = replace(model, graph=replace(model.graph, outputs=twice))
    with pytest.raises(gd.BuildError):
        broken.save(tmp_path / "m.onnx")
    assert snapshot(tmp_path) == {"m.onnx": b"old"}


def test_tensors_without_data_are_never_written(tmp_path: Path) -> None:
    weights(random(100, 200)).save(tmp_path / "m.onnx")
    (tensor,) = onnx.load(tmp_path / "m.onnx").graph.initializer
    assert tensor.data_location == TensorProto.DEFAULT
    assert tensor.raw_data == random(100, 200).tobytes()


def test_long_writes_show_a_bar_of_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tqdm.auto

    class Always(tqdm.auto.tqdm):  # type: ignore[type-arg]
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, **{**named, "disable": False})

    x = gd.input("x", gd.float32[1, 1000])
    model = gd.build({"y": x @ np.ones((1000, 1000), np.float32)})
    model.save(tmp_path / "quiet.onnx")
    monkeypatch.setattr(tqdm.auto, "tqdm", Always)
    model.save(tmp_path / "short.onnx")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(saving, "_LONG", 10**6)
    model.save(tmp_path / "long.onnx", external_data=True)
    shown = capsys.readouterr().err
    assert "long.onnx.data: 100%" in shown and "4.00M/4.00M" in shown
    model.save(tmp_path / "long.onnx", external_data=False)
    assert "long.onnx: 100%" in capsys.readouterr().err
