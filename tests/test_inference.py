"""Types of outputs: what is asked of ONNX and remembered, what is added to its answer, and how a refusal reads."""

from collections.abc import Callable, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import graphdsl as gd
from graphdsl import inference, op, schemas
from graphdsl.ir import NO_ATTRIBUTES
from graphdsl.types import TensorType, tensor_type

ort.set_default_logger_severity(4)

_numbers = count()


def t(*shape: Any, dtype: gd.DType = gd.float32) -> gd.Tensor:
    """A symbolic tensor of a shape."""
    return gd.input(f"x{next(_numbers)}", dtype[shape] if shape else dtype[()])


def i(*shape: Any) -> gd.Tensor:
    return t(*shape, dtype=gd.int64)


def arrays(model: gd.Model) -> dict[str, np.ndarray]:
    """Ones for every input."""
    return {v.name: np.ones(v.shape, v.dtype.numpy) for v in model.inputs}  # type: ignore[misc, arg-type]


def run(made: Any, opset: int) -> list[np.ndarray]:
    """What ONNX Runtime computes, all inputs being ones."""
    model = gd.build(made, opset=opset)
    session = ort.InferenceSession(model.to_proto().SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, arrays(model)))


# What is remembered


def test_equal_calls_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = inference._infer
    monkeypatch.setattr(inference, "_infer", lambda *call: asked.append(call) or original(*call))
    schemas.lookup("", "Softmax", 13).memo.clear()
    shapes = [gd.opset(13).Softmax(t(2, "n"), axis=a).shape for a in (1, 1, 0, 1, 0)]
    assert shapes == [(2, "n")] * 5 and len(asked) == 2


def test_constants_are_told_apart_by_what_they_hold_only_where_that_is_read() -> None:
    assert op.Reshape(t(6), [2, 3]).shape == (2, 3)
    assert op.Reshape(t(6), [3, 2]).shape == (3, 2)
    assert op.Reshape(t(6), i(2)).shape == (None, None)
    schema = schemas.lookup("", "Add", 21)
    schema.memo.clear()
    for number in range(5):
        op.Add(t(2), float(number))
    assert len(schema.memo) == 1


def test_arrays_and_bodies_among_the_attributes() -> None:
    assert op.Constant(value=np.zeros((2, 3))).type == gd.float64[2, 3]
    assert op.Constant(value=np.zeros((3, 2))).type == gd.float64[3, 2]


def test_the_number_of_outputs_is_part_of_the_question() -> None:
    assert op.MaxPool(t(1, 1, 4, 4), kernel_shape=[2, 2]).type == gd.float32[1, 1, 3, 3]
    assert op.MaxPool(t(1, 1, 4, 4), kernel_shape=[2, 2], outputs=2)[1].type == gd.int64[1, 1, 3, 3]


def test_an_operator_forgets_when_it_has_seen_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_MOST_REMEMBERED", 3)
    schema = schemas.lookup("", "Abs", 13)
    schema.memo.clear()
    for size in range(7):
        assert gd.opset(13).Abs(t(size)).shape == (size,)
        assert len(schema.memo) <= 3


def test_large_constants_are_not_shown() -> None:
    many = np.zeros(inference._MOST_READ + 1, np.int64)
    assert op.Tile(t(*[1] * 3), np.ones(3, np.int64)).shape == (1, 1, 1)
    assert op.ConstantOfShape(np.ones(2, np.int64)).shape == (1, 1)
    assert isinstance(op.SplitToSequence(t(len(many)), many).type, gd.SequenceType)


# Which constants are read


class Reader(NamedTuple):
    """A call whose constant inputs say something about the shape of the outputs."""

    name: str
    opset: int
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = MappingProxyType({})
    outputs: int = 1


F = np.float32
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
READERS = [
    Reader("AffineGrid", 20, (t(2, 2, 3), [2, 1, 4, 5])),
    Reader("BlackmanWindow", 17, (np.int64(5),)),
    Reader("CenterCropPad", 18, (t(4, 4), [2, 3])),
    Reader("Col2Im", 18, (t(1, 4, 9), [4, 4], [2, 2])),
    Reader("ConstantOfShape", 9, ([2, 3],)),
    Reader("DFT", 17, (t(1, 8, 1), np.int64(4)), {"axis": 1}),
    Reader("DFT", 20, (t(1, 8, 2, 1), np.int64(4), np.int64(1))),
    Reader("Expand", 13, (t(1, 3), [2, 3])),
    Reader("HammingWindow", 17, (np.int64(5),)),
    Reader("HannWindow", 17, (np.int64(5),)),
    Reader("MaxUnpool", 11, (t(1, 1, 2, 2), i(1, 1, 2, 2), [1, 1, 5, 5]), {"kernel_shape": [2, 2]}),
    Reader("MelWeightMatrix", 17, (np.int64(8), np.int64(16), np.int64(8000), F(0), F(4000))),
    Reader("OneHot", 11, (i(3), np.int64(5), t(2))),
    Reader("Pad", 13, (t(2, 3), [1, 0, 1, 0])),
    Reader("Pad", 18, (t(2, 3), [1, 1], None, [0])),
    Reader("Range", 11, (np.int64(1), np.int64(9), np.int64(2))),
    Reader("Range", 11, (np.float16(1), np.float16(9), np.float16(2))),
    *(Reader(f"Reduce{kind}", 18, (t(2, 3), [0])) for kind in _REDUCTIONS),
    Reader("Reshape", 13, (t(2, 3), [3, 2])),
    Reader("Resize", 10, (t(1, 1, 4, 4), np.array([1, 1, 2, 2], F))),
    Reader("Resize", 13, (t(1, 1, 4, 4), None, np.array([1, 1, 2, 2], F))),
    Reader("Resize", 13, (t(1, 1, 4, 4), None, None, [1, 1, 8, 8])),
    Reader("STFT", 17, (t(1, 16, 1), np.int64(4), None, np.int64(8))),
    Reader("Slice", 13, (t(9, 9), [1], [5], [1], [2])),
    Reader("Split", 13, (t(6), [2, 4]), {}, 2),
    Reader("SplitToSequence", 11, (t(6, 2), np.int64(2))),
    Reader("Squeeze", 13, (t(1, 3, 1), [0])),
    Reader("Tile", 13, (t(2, 3), [2, 2])),
    Reader("TopK", 11, (t(5), [2]), {}, 2),
    Reader("Unsqueeze", 13, (t(2, 3), [0])),
    Reader("Upsample", 9, (t(1, 1, 4, 4), np.array([1, 1, 2, 2], F))),
]


def answer(reader: Reader, shown: set[int] | None = None) -> Any:
    """The types of a call where only some constants are known, or what refuses it."""
    inputs = []
    for index, item in enumerate(reader.inputs):
        constant = None if item is None or isinstance(item, gd.Tensor) else gd.constant(item)
        if constant is not None and shown is not None and index not in shown:
            assert isinstance(constant.type, TensorType)
            constant = gd.input(f"i{index}", constant.type)
        inputs.append(item if constant is None else constant)
    operator = getattr(gd.opset(reader.opset), reader.name)
    try:
        made = operator(*inputs, outputs=reader.outputs, **reader.attributes)
    except gd.InferenceError as error:
        return str(error)
    return [tensor.type for tensor in (made if isinstance(made, tuple) else (made,))]


def constants(reader: Reader) -> set[int]:
    return {n for n, item in enumerate(reader.inputs) if item is not None and not isinstance(item, gd.Tensor)}


def told_by(reader: Reader) -> set[int]:
    """The constants without which less is known."""
    everything = constants(reader)
    return {index for index in everything if answer(reader, everything - {index}) != answer(reader)}


@pytest.mark.parametrize("reader", READERS, ids=lambda r: f"{r.name}-{r.opset}")
def test_the_table_lists_the_constants_that_are_read(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = set(inference.READS[reader.name])
    assert told_by(reader) == listed & constants(reader)
    # with a table that lists them all, nothing more is told
    monkeypatch.setitem(inference.READS, reader.name, tuple(range(len(reader.inputs))))
    assert told_by(reader) == listed & constants(reader)


def test_every_entry_of_the_table_is_tested() -> None:
    contributed = {"ExpandDims": {1}}
    seen: dict[str, set[int]] = {}
    for reader in READERS:
        seen.setdefault(reader.name, set()).update(told_by(reader))
    assert {name: set(indices) for name, indices in inference.READS.items()} == seen | contributed


def test_an_entry_that_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inference.READS, "Slice", (1, 2, 3))
    schemas.lookup("", "Slice", 13).memo.clear()
    reader = next(r for r in READERS if r.name == "Slice")
    assert told_by(reader) != {1, 2, 3, 4}
    schemas.lookup("", "Slice", 13).memo.clear()


@pytest.mark.full
def test_no_case_of_the_backend_suite_reads_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all inputs of a one-operator model constant, all shown or only those listed, the answer is the same."""
    from backend import node_cases

    compared = 0
    for case in node_cases():
        (node, *more), graph = case.model.graph.node, case.model.graph
        versions = {entry.domain: entry.version for entry in case.model.opset_import}
        schema = schemas.lookup(node.domain, node.op_type, versions[node.domain])
        if more or node.op_type in ("If", "Loop", "Scan", "SequenceMap") or not node.input:
            continue
        feeds = dict(zip([info.name for info in graph.input], case.feeds, strict=False))
        values = []
        for name in node.input:
            known = isinstance(feeds.get(name), (np.ndarray, np.generic))
            kind = next((info.type for info in graph.input if info.name == name), None)
            values.append(None if not name else gd.constant(feeds[name])._v if known else gd.input(name, kind)._v)
        attributes = {a.name: _kept(a) for a in node.attribute}
        listed = inference._asked(schema, tuple(values), attributes, len(node.output))
        with monkeypatch.context() as patch:
            patch.setitem(inference.READS, schema.name, tuple(range(len(values))))
            assert inference._asked(schema, tuple(values), attributes, len(node.output)) == listed, case.name
        compared += 1
    assert compared > 1300


def _kept(attribute: onnx.AttributeProto) -> Any:
    from graphdsl.attributes import from_attribute

    return from_attribute(attribute)


# Where ONNX's inference says nothing, too little, or something wrong


@pytest.mark.parametrize(
    ("made", "opset"),
    [
        (lambda: gd.opset(12).GreaterOrEqual(t(2, 1), t(3)), 12),
        (lambda: gd.opset(12).LessOrEqual(t(2, 1), t(3)), 12),
        (lambda: gd.opset(9).MeanVarianceNormalization(t(2, 3, 4, 5)), 9),
        (lambda: gd.opset(13).MeanVarianceNormalization(t(2, 3, 4, 5)), 13),
        (lambda: op.GroupNormalization(t(2, 4, 5), t(4), t(4), num_groups=2), 21),
        (lambda: gd.opset(9).Compress(t(2, 3), np.array([True, True]), axis=0), 9),
        (lambda: gd.opset(17).STFT(t(1, 32, 1), np.int64(4), None, np.int64(16)), 17),
        (lambda: gd.opset(17).STFT(t(1, 32, 1), np.int64(4), None, np.int64(16), onesided=0), 17),
        (lambda: gd.opset(17).STFT(t(1, 32, 1), np.int64(4), np.ones(16, F), onesided=1), 17),
        (lambda: op.MaxUnpool(t(1, 1, 2, 2), i(1, 1, 2, 2), [1, 1, 5, 5], kernel_shape=[2, 2]), 21),
        (lambda: op.Range(np.int32(10), np.int32(1), np.int32(-3)), 21),
        (lambda: op.Range(np.int16(1), np.int16(1), np.int16(3)), 21),
        (lambda: gd.domain("ai.onnx.ml", 1).Scaler(i(2, 3), offset=[0.0], scale=[1.0]), 21),
        (lambda: gd.domain("ai.onnx.ml", 1).Normalizer(t(2, 3), norm="L2"), 21),
        (lambda: gd.domain("ai.onnx.ml", 1).Imputer(t(2, 3), imputed_value_floats=[0.0]), 21),
        (lambda: gd.domain("ai.onnx.ml", 1).LinearRegressor(t(2, 3), coefficients=[1.0] * 6, targets=2), 21),
        (lambda: gd.domain("ai.onnx.ml", 1).FeatureVectorizer(t(2, 3), t(2, 1), inputdimensions=[3, 1]), 21),
        (
            lambda: gd.domain("ai.onnx.ml", 1).SVMRegressor(
                t(2, 3), coefficients=[1.0], n_supports=1, rho=[0.0], support_vectors=[1.0] * 3, kernel_params=[1.0] * 3
            ),
            21,
        ),
    ],
)
def test_the_runtime_gives_what_we_infer(made: Callable[[], Any], opset: int) -> None:
    tensor = made()
    (found,) = run(tensor, opset)
    assert isinstance(tensor.type, TensorType) and tensor.type.dtype == found.dtype
    assert tensor.shape is not None and len(tensor.shape) == found.ndim
    assert all(size in (None, got) for size, got in zip(tensor.shape, found.shape, strict=True))
    assert None not in tensor.shape or "Compress" in str(tensor._v.node)


def test_onnx_itself_gets_stft_wrong() -> None:
    """If this fails, ONNX has mended its inference, and sharpening._stft may go (docs/upstream.md)."""
    schema = schemas.lookup("", "STFT", 17)
    values = [gd.input("signal", gd.float32[1, 32, 1])._v, gd.constant(np.int64(4))._v, gd.constant(np.ones(16, F))._v]
    found = inference._asked(schema, tuple(values), NO_ATTRIBUTES, 1)
    assert found == (gd.float32[1, 5, 16, 2],), (
        "the specification says 9 = 16 // 2 + 1 bins, as onesided is 1 by default"
    )


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda: gd.opset(1).Add(t(2, 3), t(2, 3)), gd.float32[2, 3]),
        (lambda: gd.opset(5).Relu(t("n", 3)), gd.float32["n", 3]),
        (
            lambda: gd.opset(1).BatchNormalization(t(1, 2, 3), t(2), t(2), t(2), t(2), consumed_inputs=[0, 0]),
            gd.float32[1, 2, 3],
        ),
        (lambda: gd.opset(1).Cast(t("n"), to="INT64"), gd.int64["n"]),
        (lambda: gd.opset(1).Concat(t(2, 3), t(2, 3)), gd.float32[2, 6]),
        (lambda: gd.opset(1).Reshape(t(2, 3), shape=[3, -1]), gd.float32[3, 2]),
        (lambda: gd.opset(1).Gemm(t(2, 3), t(3, 4), t(4), broadcast=1), gd.float32[2, 4]),
        (lambda: gd.opset(1).Split(t(6), split=[2, 4])[1], gd.float32[4]),
        (lambda: gd.opset(1).GlobalLpPool(t(1, 2, 3, 3)), gd.float32[1, 2, 1, 1]),
        (lambda: gd.opset(1).Pad(t(2, 3), paddings=[1, 1, 1, 1]), gd.float32[4, 5]),
    ],
)
def test_opset_1(made: Callable[[], Any], kind: gd.Type) -> None:
    assert made().type == kind


def test_a_stand_in_does_not_widen_what_is_allowed() -> None:
    """Abs takes integers since opset 6; before, floats only."""
    with pytest.raises(
        gd.InferenceError, match="Abs: X is int64, which is not allowed; it takes float16, float32, float64"
    ):
        gd.opset(5).Abs(i(3))
    assert gd.opset(6).Abs(i(3)).type == gd.int64[3]


def test_made_up_names_are_unknown_dimensions() -> None:
    assert op.NonZero(t(2, 3)).shape == (2, None)
    assert op.Unique(t("n")).shape == (None,)


def test_unknown_types_leave_what_type_variables_say() -> None:
    unknown = gd.domain("com.microsoft", 1).BeamSearch
    assert callable(unknown)
    assert op.Add(gd.input("x", gd.float32), 1.0).type is tensor_type(gd.float32)
    assert op.Add(gd.input("x", gd.float32), 1.0).type != gd.float32, "a dtype is no type"
    assert op.Shape(gd.input("x", gd.float32)).type == gd.int64[None]


def test_a_vector_without_the_number_that_inference_reads_is_refused() -> None:
    with pytest.raises(gd.InferenceError, match="STFT: an input holds fewer numbers than the operator reads"):
        op.STFT(t(2, 8, 1), np.zeros(0, np.int64))
