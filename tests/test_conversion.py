"""Models at other opsets: the same outputs, nothing lost, and a reason where it cannot be."""

from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
from backend import differences, node_cases, on_runtime, stored_cases
from converting import Verdict, judge, judge_all, targets
from onnx import TensorProto, helper

import graphdsl as gd
from graphdsl import op, schemas
from graphdsl.conversion.changes import FEWER_TYPES, ONE_WAY, REVIEWED, RULES


def parsed(body: str, opset: int, imports: str = "") -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 7, opset_import: ["" : {opset}{imports}]> {body}')


# What changed


def changes() -> list[tuple[onnx.defs.OpSchema, onnx.defs.OpSchema]]:
    """Each version of each operator of the default domain, with the one before it."""
    found = []
    for name in [*schemas.operators("", schemas.NEWEST_OPSET), "Upsample", "Scatter"]:
        versions = [onnx.defs.get_schema(name, version, "") for version in schemas.since("", name)]
        found += list(pairwise(versions))
    return found


def lost(old: onnx.defs.OpSchema, new: onnx.defs.OpSchema) -> list[str]:
    """What a call of an operator may have that the next version does not take, or takes for something else."""
    found = ["the operator"] if new.deprecated and not old.deprecated else []
    for name, spec in old.attributes.items():
        later = new.attributes.get(name)
        if later is None:
            found.append(f"attribute {name}")
        elif (later.type, later.default_value) != (spec.type, spec.default_value) or later.required > spec.required:
            found.append(f"kind or default of {name}")
    found += [
        f"attribute {n}, now required" for n, a in new.attributes.items() if a.required and n not in old.attributes
    ]
    for kind in ("inputs", "outputs"):
        before, after = getattr(old, kind), getattr(new, kind)
        wider = [("Single", "Optional")]
        for index, formal in enumerate(before):
            if index >= len(after):
                found.append(f"{kind} {formal.name}")
                continue
            options = formal.option.name, after[index].option.name
            if options[0] != options[1] and options not in wider:
                found.append(f"option of {formal.name}")
            if not formal.types <= after[index].types:
                found.append(f"types of {formal.name}")
        found += [f"{kind} {f.name}, now required" for f in after[len(before) :] if f.option.name == "Single"]
    return found


NEUTRAL = {
    "AveragePool": "count_include_pad ceil_mode dilations",
    "ArgMax": "select_last_index",
    "ArgMin": "select_last_index",
    "Attention": "left_window_size right_window_size",
    "BatchNormalization": "training_mode",
    "Cast": "saturate round_mode",
    "CastLike": "saturate round_mode",
    "Constant": "sparse_value value_float value_floats value_int value_ints value_string value_strings",
    "DepthToSpace": "mode",
    "DequantizeLinear": "axis block_size output_dtype",
    "Dropout": "seed",
    "GRU": "layout linear_before_reset",
    "GatherND": "batch_dims",
    "LSTM": "layout",
    "LpPool": "ceil_mode dilations",
    "MaxPool": "storage_order ceil_mode dilations",
    "QuantizeLinear": "axis saturate block_size output_dtype precision",
    "RNN": "layout",
    "Range": "stash_type",
    "Reshape": "allowzero",
    "Resize": "antialias axes keep_aspect_ratio_policy",
    "ScatterElements": "reduction",
    "ScatterND": "reduction",
    "Shape": "start end",
    "SpaceToDepth": "mode",
    "Split": "num_outputs",
    "TopK": "largest sorted",
}
"""Attributes that operators got later, and whose absence means what the operator did before: read one by one."""


def test_every_change_that_loses_something_has_a_rule() -> None:
    found = {(new.name, new.since_version): lost(old, new) for old, new in changes()}
    unknown = {key: what for key, what in found.items() if what and key not in RULES and key not in FEWER_TYPES}
    assert unknown == {}
    assert found["Squeeze", 13] == ["attribute axes"] and found["Softmax", 13] == ["kind or default of axis"]
    assert [key for key in FEWER_TYPES if not found[key]] == []


def test_every_attribute_that_came_later_was_read() -> None:
    added = {
        (new.name, name)
        for old, new in changes()
        if (new.name, new.since_version) not in RULES
        for name in set(new.attributes) - set(old.attributes)
    }
    assert {(o, n) for o, n in added if n not in NEUTRAL.get(o, "").split()} == set()
    assert schemas.NEWEST_OPSET <= REVIEWED


def test_every_rule_is_of_a_change() -> None:
    known = {(new.name, new.since_version) for _, new in changes()}
    assert {key for key in RULES if key not in known} == set()


# The same outputs


@pytest.mark.parametrize("every", [23, pytest.param(1, marks=pytest.mark.full)])
def test_the_backend_suite_converts_to_later_opsets(every: int) -> None:
    cases = (node_cases() + stored_cases())[::every]
    verdicts = judge_all(cases, processes=1)
    assert [(v.name, v.problems) for v in verdicts if v.problems] == []
    judged = sum(len(v.judged) for v in verdicts)
    assert judged > len(cases)
    assert sum(len(v.refused) + len(v.unjudged) for v in verdicts) < judged / 50


def test_a_conversion_that_is_wrong_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = [case for case in node_cases() if case.name == "test_hardmax_axis_0"]
    old = case._replace(model=parsed("g (float[3, 4] x) => (float[3, 4] y) { y = Hardmax <axis = 0> (x) }", 11))
    old = old._replace(feeds=[np.float32([[3, 1, 2, 0]] * 3)])
    # onnx.reference does at opset 11 what opset 13 says (docs/upstream.md), so only the runtime's word counts here
    by_runtime = lambda: [text for text in judge(old).problems if "on_runtime" in text]  # noqa: E731
    assert by_runtime() == []
    monkeypatch.setitem(RULES, ("Hardmax", 13), lambda call: call)
    assert "13: on_runtime: output 0: other values" in by_runtime()[0]


X = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype(np.float32)
M = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)

OLD = {
    "Softmax": ("float[2, 3, 4, 6] y", "y = Softmax (x)", 11, X),
    "Softmax along the last axis": ("float[2, 3, 4, 6] y", "y = Softmax <axis = 3> (x)", 11, X),
    "LogSoftmax": ("float[2, 3, 4, 6] y", "y = LogSoftmax <axis = 2> (x)", 9, X),
    "Hardmax": ("float[2, 3, 4, 6] y", "y = Hardmax <axis = 0> (x)", 11, X),
    "Squeeze": ("float[2, 3, 4, 6] y", "h = Unsqueeze <axes = [0, 5]> (x) y = Squeeze <axes = [0, 5]> (h)", 11, X),
    "Squeeze of all": ("float[2, 3, 4, 6] y", "h = Unsqueeze <axes = [1]> (x) y = Squeeze (h)", 11, X),
    "ReduceSum": ("float[a, b] y", "y = ReduceSum <axes = [1, 3], keepdims = 0> (x)", 11, X),
    "ReduceSum of all": ("float y", "y = ReduceSum <keepdims = 0> (x)", 11, X),
    "ReduceMean": ("float[a, b, c, d] y", "y = ReduceMean <axes = [-1]> (x)", 13, X),
    "ReduceL2": ("float[a, b, c] y", "y = ReduceL2 <axes = [1], keepdims = 0> (x)", 13, X),
    "ReduceMax of all": ("float y", "y = ReduceMax <keepdims = 0> (x)", 13, X),
    "Clip": ("float[2, 3, 4, 6] y", "y = Clip <min = -0.5, max = 0.25> (x)", 10, X),
    "Clip below": ("float[2, 3, 4, 6] y", "y = Clip <min = 0.0> (x)", 6, X),
    "Pad": ("float[a, b, c, d] y", "y = Pad <pads = [0, 1, 0, 0, 0, 0, 2, 0], value = 1.5> (x)", 10, X),
    "Pad by reflection": (
        "float[a, b, c, d] y",
        'y = Pad <mode = "reflect", pads = [0, 0, 1, 1, 0, 0, 1, 1]> (x)',
        9,
        X,
    ),
    "Slice": ("float[a, b, c, d] y", "y = Slice <axes = [1, 3], starts = [1, -4], ends = [9, -1]> (x)", 9, X),
    "Slice from the first axis": ("float[a, b, c, d] y", "y = Slice <starts = [1], ends = [2]> (x)", 7, X),
    "Split": ("float[a, b, c, d] y", "y, z = Split <axis = 1, split = [1, 2]> (x)", 11, X),
    "Split evenly": ("float[a, b, c, d] y", "y, z, w = Split <axis = 1> (x)", 11, X),
    "TopK": ("float[a, b, c, d] y", "y, i = TopK <axis = 3, k = 2> (x)", 9, X),
    "Upsample": (
        "float[a, b, c, d] y",
        'y = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 1.5]> (x)',
        8,
        X,
    ),
    "Upsample by an input": (
        "float[a, b, c, d] y",
        's = Constant <value = float[4] {1, 1, 2, 2}> () y = Upsample <mode = "linear"> (x, s)',
        9,
        X,
    ),
    "Resize that enlarges": (
        "float[a, b, c, d] y",
        "s = Constant <value = float[4] {1, 1, 1.7, 3}> () y = Resize (x, s)",
        10,
        X,
    ),
    "Resize that shrinks": (
        "float[a, b, c, d] y",
        "s = Constant <value = float[4] {1, 1, 0.6, 0.5}> () y = Resize (x, s)",
        10,
        X,
    ),
    "Resize, linear": (
        "float[a, b, c, d] y",
        's = Constant <value = float[4] {1, 1, 0.6, 2.5}> () y = Resize <mode = "linear"> (x, s)',
        10,
        X,
    ),
    "Dropout": ("float[2, 3, 4, 6] y", "y, mask = Dropout <ratio = 0.3> (x)", 9, X),
    "BatchNormalization": (
        "float[2, 3, 4, 6] y",
        "s = Constant <value = float[3] {1, 2, 3}> () y = BatchNormalization <spatial = 1> (x, s, s, s, s)",
        7,
        X,
    ),
    "Scatter": (
        "float[3, 4] y",
        """i = Constant <value = int64[1, 2] {1, 3}> () u = Constant <value = float[1, 2] {5, 6}> ()
        y = Scatter <axis = 1> (x, i, u)""",
        9,
        M,
    ),
    "RoiAlign": (
        "float[a, b, c, d] y",
        """r = Constant <value = float[1, 4] {0.2, 0.1, 3.3, 2.2}> () b = Constant <value = int64[1] {1}> ()
        y = RoiAlign <output_height = 2, output_width = 2> (x, r, b)""",
        10,
        X,
    ),
    "GridSample": (
        "float[a, b, c, d] y",
        """g = Constant <value = float[2, 1, 2, 2] {0.1, 0.2, -0.3, 0.9, 0.5, 0.5, -1, 1}> ()
        y = GridSample <mode = "bicubic"> (x, g)""",
        16,
        X,
    ),
    "DFT": ("float[a, b, c] y", "a = Constant <value = int64[1] {-1}> () h = Unsqueeze (x, a) y = DFT (h)", 17, M),
    "LSTM": (
        "float[a, b, c, d] y",
        """w = Constant <value = float[1, 4, 4] {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7}> ()
        r = Constant <value = float[1, 4, 1] {1, 2, 3, 4}> () a = Constant <value = int64[3] {3, 1, 4}> ()
        h = Reshape (x, a) y = LSTM <hidden_size = 1> (h, w, r)""",
        11,
        M,
    ),
    "AveragePool": ("float[a, b, c, d] y", "y = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (x)", 7, X),
    "MaxPool": ("float[a, b, c, d] y", 'y = MaxPool <kernel_shape = [3, 2], auto_pad = "SAME_UPPER"> (x)', 7, X),
    "Sum": ("float[2, 3, 4, 6] y", "y = Sum (x, x, x)", 7, X),
}
"""Calls of old opsets that ONNX Runtime still runs: the outputs, the nodes, the opset, the input."""


@pytest.mark.parametrize("name", OLD)
def test_old_calls_compute_the_same_at_every_later_opset(name: str) -> None:
    outputs, nodes, opset, array = OLD[name]
    shape = ", ".join(map(str, array.shape))
    proto = parsed(f"g (float[{shape}] x) => ({outputs}) {{ {nodes} }}", opset)
    expected = on_runtime(proto, [array])
    met = targets(proto)
    assert met
    for target in [*met, 26]:
        converted = gd.convert_opset(proto, target)
        assert converted.opset == target
        onnx.checker.check_model(converted.to_proto(), full_check=True)
        if target > (21 if name == "RoiAlign" else 26):  # which the runtime has no kernel for
            continue
        found = on_runtime(converted.to_proto(), [array])
        if name == "AveragePool":  # whose kernel of opset 19 adds in another order
            np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
        else:
            assert differences(expected, found) == [], target


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Add <broadcast = 1, axis = 1> (x, c)", X + np.float32([1, 2, 3])[:, None, None]),
        ("y = Mul <broadcast = 1, axis = -3> (x, c)", X * np.float32([1, 2, 3])[:, None, None]),
        ("y = Sub <broadcast = 1> (x, x)", X - X),
        ("y = Pow <broadcast = 1, axis = 1> (x, two)", X ** np.float32([2, 1, 2])[:, None, None]),
        ("y = PRelu (x, c)", np.where(X < 0, X * np.float32([1, 2, 3])[:, None, None], X)),
        ("h = Relu <consumed_inputs = [0]> (x) y = Selu (h)", np.float32(1.0506999492645264) * np.maximum(X, 0)),
        ('h = Cast <to = "DOUBLE"> (x) y = Cast <to = "FLOAT"> (h)', X),
        ("y = Reshape <shape = [2, 3, 4, 6]> (x)", X),
        ("h = Concat (x, x) y = Slice <axes = [1], starts = [0], ends = [3]> (h)", X),
        ("y = Pad <paddings = [0, 0, 0, 0, 0, 0, 0, 0]> (x)", X),
        ("y = Upsample <height_scale = 1.0, width_scale = 1.0> (x)", X),
    ],
)
def test_opsets_that_no_runtime_runs_become_ones_that_run(nodes: str, expected: np.ndarray) -> None:
    constants = "c = Constant <value = float[3] {1, 2, 3}> () two = Constant <value = float[3] {2, 1, 2}> ()"
    proto = parsed(f"g (float[2, 3, 4, 6] x) => (float[a, b, c, d] y) {{ {constants} {nodes} }}", 1)
    for target in (7, 12, 13, 21):
        converted = gd.convert_opset(proto, target)
        onnx.checker.check_model(converted.to_proto(), full_check=True)
        np.testing.assert_allclose(converted.run({"x": X})["y"], expected, rtol=1e-6)


def test_group_normalization_gets_a_scale_for_each_channel() -> None:
    proto = parsed(
        "g (float[2, 4, 3] x, float[2] s, float[2] b) => (float[2, 4, 3] y) {"
        "y = GroupNormalization <num_groups = 2> (x, s, b) }",
        18,
    )
    x, s, b = np.arange(24, dtype=np.float32).reshape(2, 4, 3) ** 2, np.float32([1, 2]), np.float32([3, 4])
    grouped = x.reshape(2, 2, -1)
    normal = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-5)
    expected = (normal * s[:, None] + b[:, None]).reshape(x.shape)
    np.testing.assert_allclose(gd.convert_opset(proto, 21)(x, s, b), expected, rtol=1e-5, atol=1e-6)


# Nothing lost


def test_names_documentation_metadata_and_weights_stay() -> None:
    proto = parsed(
        """g (float[n, 3] x) => (float[n, 3] y) <float[3] w = {1, 2, 3}, float[1] unused = {3}> {
            h = Mul (x, w)
            s = Softmax <axis = 1> (h)
            c = Clip <min = 0.0> (s)
            y = Relu (c)
        }""",
        10,
    )
    for node in proto.graph.node:
        node.name, node.doc_string = f"the {node.op_type}", f"about {node.op_type}"
        node.metadata_props.add(key="k", value=node.op_type)
    proto.doc_string, proto.producer_name = "model", "someone"
    proto.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["n", 3]))
    model = gd.load(proto)
    converted = gd.convert_opset(model, 21)
    made = converted.to_proto()
    assert made.ir_version == 10 and gd.convert_opset(model, 11).ir_version == 7
    assert [node.output[0] for node in made.graph.node] == ["h", "s", "c", "y"]
    assert [node.name for node in made.graph.node] == [node.name for node in proto.graph.node]
    assert [node.doc_string for node in made.graph.node] == [node.doc_string for node in proto.graph.node]
    assert [node.metadata_props for node in made.graph.node] == [node.metadata_props for node in proto.graph.node]
    assert [t.name for t in made.graph.initializer][:2] == ["w", "unused"]
    assert [info.name for info in made.graph.value_info] == ["h"]
    assert (made.doc_string, made.producer_name) == ("model", "someone")
    assert gd.weights_of(converted)["w"] is gd.weights_of(model)["w"]
    assert model.to_proto() == proto  # which is not changed


def test_bodies_and_functions_are_converted_too() -> None:
    proto = parsed(
        """g (float[1, 2] x, bool c) => (float[2] y, float[1, 2] z) {
            y = If (c) <
                then_branch = one () => (float[2] t) { t = Squeeze <axes = [0]> (x) },
                else_branch = two () => (float[2] t) { h = Neg (x) t = Squeeze <axes = [0]> (h) }
            >
            z = my.thing (x)
        }
        <domain: "my", opset_import: ["" : 11]> thing (a) => (b) { h = Squeeze <axes = [0]> (a)
            b = Unsqueeze <axes = [0]> (h) }""",
        11,
        ', "my" : 3',
    )
    proto.ir_version = 8
    model = gd.load(proto)
    converted = gd.convert_opset(model, 21)
    onnx.checker.check_model(converted.to_proto(), full_check=True)
    assert dict(converted.opset_imports) == {"": 21, "my": 3}
    assert [dict(f.opset_imports) for f in converted.functions] == [{"": 21}]
    x = np.float32([[1, 2]])
    for flag in (True, False):
        for one, other in zip(model(x, flag), converted(x, flag), strict=True):
            np.testing.assert_array_equal(one, other)


def test_operators_of_other_domains_stay_as_they_are() -> None:
    proto = parsed(
        "g (float[2] x) => (float[2] y) { h = com.microsoft.Gelu (x) k = other.Thing <axes = [1]> (h) y = Relu (k) }",
        12,
        ', "com.microsoft" : 1, "other" : 4',
    )
    converted = gd.convert_opset(proto, 21)
    assert dict(converted.opset_imports) == {"": 21, "com.microsoft": 1, "other": 4}
    kept = converted.to_proto().graph.node
    assert [node.SerializeToString() for node in kept] == [n.SerializeToString() for n in proto.graph.node]


def test_weights_in_data_files_are_not_read(tmp_path: Any) -> None:
    x = gd.input("x", gd.float32[4, 64])
    w = gd.constant(np.ones((64, 64), np.float32), "w")
    with gd.opset(11):
        built = gd.build({"y": op.Softmax(x @ w)}, opset=11)
    built.save(tmp_path / "m.onnx", external_data=True)
    model = gd.load(tmp_path / "m.onnx")
    assert gd.weights_of(gd.convert_opset(model, 21))["w"] is gd.weights_of(model)["w"]


def test_a_model_at_the_opset_already_is_itself() -> None:
    model = gd.build({"y": gd.input("x", gd.float32[2]) * 2})
    assert gd.convert_opset(model, model.opset).to_proto() == model.to_proto()


def test_what_another_opset_was_refused_for_works_after_conversion() -> None:
    model = gd.load(parsed("g (float[1, 4] x) => (float[4] y) { y = Squeeze <axes = [0]> (x) }", 11))

    def head(image: gd.float32[1, 4]):
        return model(image) * 2

    with pytest.raises(gd.OpsetError, match=r"write gd\.convert_opset\(model, 21\)"):
        gd.model(head)
    model = gd.convert_opset(model, 21)
    np.testing.assert_array_equal(gd.model(head)(np.ones((1, 4), np.float32)), [2, 2, 2, 2])


# Downwards


def test_downwards_what_means_the_same_is_kept() -> None:
    x = gd.input("x", gd.float32[2, 6])
    built = gd.build({"y": (op.Relu(x) * 2).reshape(3, 4)}, opset=21)
    lower = gd.convert_opset(built, 13)
    assert [(node.op_type, node.schema.since) for node in lower.nodes] == [("Relu", 13), ("Mul", 13), ("Reshape", 13)]
    onnx.checker.check_model(lower.to_proto(), full_check=True)
    np.testing.assert_array_equal(lower(X[0, 0, :2]), built(X[0, 0, :2]))
    again = gd.convert_opset(lower, 21)
    assert again.to_proto().graph == built.to_proto().graph


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (lambda x: op.Gelu(x), "Gelu, which makes 'y': it exists since opset 20"),
        (lambda x: op.Squeeze(x, [0]), "which makes 'y': it means something else at opset 11: Squeeze changed"),
        (lambda x: op.Reshape(x, [1, 2], allowzero=1), "its attribute 'allowzero' exists since a later opset"),
        (lambda x: op.Pad(x, [0, 1, 0, 0], mode="wrap"), "attribute 'mode'"),
        (lambda x: op.Relu(op.Cast(x, to=6)), "opset 13 does not take int32[1, 2] as its input 'X'"),
        (lambda x: op.Softmax(x, axis=-1), "Softmax changed at opset 13"),
    ],
)
def test_downwards_what_does_not_is_refused(expression: Any, reason: str) -> None:
    x = gd.input("x", gd.float32[1, 2])
    built = gd.build({"y": expression(x)}, opset=21)
    target = 13 if "opset 13 does" in reason or "'mode'" in reason or "allowzero" in reason else 11
    target = 18 if "Gelu" in reason else target
    with pytest.raises(gd.OpsetError) as caught:
        gd.convert_opset(built, target)
    assert f"the model 'graph' cannot be converted from opset 21 to {target}:" in str(caught.value)
    assert reason in str(caught.value)
    assert "test_conversion.py" in str(caught.value)


# Refusals


@pytest.mark.parametrize(
    ("nodes", "opset", "reason"),
    [
        ("y = Resize (x, s)", 10, "its scales are known only when it runs"),
        ("y, m = Dropout (x) z = Mul (m, y)", 9, "its mask is a float tensor, and from opset 10 on one of bools"),
        ("y, a, b, c, d = BatchNormalization (x, s, s, s, s)", 9, "it is trained"),
        ("y = BatchNormalization <spatial = 0> (x, s, s, s, s)", 8, "it normalises each place by itself (spatial=0)"),
        ("y = Dropout (x)", 6, "it is in training mode (is_test=0), which opset 7 leaves out"),
    ],
)
def test_upwards_refusals_name_the_node_and_the_reason(nodes: str, opset: int, reason: str) -> None:
    proto = parsed(f"g (float[2, 4, 3, 3] x, float[4] s) => (float[a, b, c, d] y) {{ {nodes} }}", opset)
    with pytest.raises(gd.OpsetError) as caught:
        gd.convert_opset(proto, 21)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"gd.convert_opset: the model 'g' cannot be converted from opset {opset} to 21:"
    assert "which makes 'y'" in lines[1] and reason in lines[1]


def test_an_integer_logarithm_cannot_be_raised() -> None:
    proto = parsed("g (int32[3] x) => (int32[1] y) { y = ReduceLogSum (x) }", 13)
    assert gd.convert_opset(proto, 21).opset == 21
    if schemas.NEWEST_OPSET >= 28:
        with pytest.raises(gd.OpsetError, match=r"opset 28 does not take int32\[3\] as its input 'data'"):
            gd.convert_opset(proto, 28)


def test_an_attribute_of_the_function_around_is_refused() -> None:
    proto = parsed(
        """g (float[1, 2] x) => (float[2] y) { y = my.thing <axes = [0]> (x) }
        <domain: "my", opset_import: ["" : 11]> thing <axes> (a) => (b) { b = Squeeze <axes : ints = @axes> (a) }""",
        11,
        ', "my" : 1',
    )
    proto.ir_version = 8
    with pytest.raises(
        gd.OpsetError, match=r"its attribute 'axes' is the function's own 'axes'; write gd\.inline first"
    ):
        gd.convert_opset(proto, 21)
    assert gd.convert_opset(gd.inline(gd.load(proto)), 21).opset == 21


def test_an_opset_that_does_not_exist_is_refused() -> None:
    model = gd.build({"y": gd.input("x", gd.float32[2]) * 2})
    with pytest.raises(gd.OpsetError, match="opset 99 is not known"):
        gd.convert_opset(model, 99)


def test_all_refusals_are_listed() -> None:
    x = gd.input("x", gd.float32[1, 2])
    built = gd.build({"y": op.Gelu(op.Gelu(x)), "z": op.Squeeze(x, [0])}, opset=21)
    with pytest.raises(gd.OpsetError) as caught:
        gd.convert_opset(built, 11)
    assert str(caught.value).count("it exists since opset 20") == 2
    assert "Squeeze changed at opset 13" in str(caught.value)


def test_the_verdict_on_a_case_that_nothing_runs_is_no_success() -> None:
    assert Verdict("x").judged == [] and ONE_WAY == 11
