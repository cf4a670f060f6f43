"""Passes that drop: nodes as text before and after, what stays, and that the outputs keep every bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from passing import applied, interface, lines, parsed

import graphdsl as gd
from graphdsl import op

P = gd.passes
R = gd.passes.rules


@pytest.mark.parametrize(
    "rule, before, after",
    [
        (R.drop_identity, "u = Identity(x) y = Relu(u)", ["y = Relu(x)"]),
        (R.drop_dropout, "u = Dropout(x) y = Relu(u)", ["y = Relu(x)"]),
        (R.cast_to_own_dtype, "u = Cast<to=1>(x) y = Relu(u)", ["y = Relu(x)"]),
        (R.cast_like_known, "u = CastLike(x, x) y = Relu(u)", ["y = Relu(x)"]),
        (R.transpose_of_nothing, "u = Transpose<perm=[0, 1]>(x) y = Relu(u)", ["y = Relu(x)"]),
        (R.reshape_to_own_shape, "s = Constant<value_ints=[3, -1]>() u = Reshape(x, s) y = Relu(u)", ["y = Relu(x)"]),
        (R.flatten_to_own_shape, "u = Flatten(x) y = Relu(u)", ["y = Relu(x)"]),
        (R.expand_to_own_shape, "s = Constant<value_ints=[1, 4]>() u = Expand(x, s) y = Relu(u)", ["y = Relu(x)"]),
        (R.tile_once, "s = Constant<value_ints=[1, 1]>() u = Tile(x, s) y = Relu(u)", ["y = Relu(x)"]),
        (
            R.slice_of_all,
            "a = Constant<value_ints=[0]>() e = Constant<value_ints=[2147483647]>() u = Slice(x, a, e) y = Relu(u)",
            ["y = Relu(x)"],
        ),
        (R.concat_of_one, "u = Concat<axis=0>(x) y = Relu(u)", ["y = Relu(x)"]),
        (R.one_of_one, "u = Max(x) y = Relu(u)", ["y = Relu(x)"]),
        (R.pad_by_nothing, "s = Constant<value_ints=[0, 0, 0, 0]>() u = Pad(x, s) y = Relu(u)", ["y = Relu(x)"]),
        (R.times_one, "k = Constant<value_float=1.0>() u = Mul(k, x) y = Relu(u)", ["y = Relu(x)"]),
        (R.plus_nothing, "k = Constant<value_float=0.0>() u = Sub(x, k) y = Relu(u)", ["y = Relu(x)"]),
    ],
    ids=lambda value: value.name if isinstance(value, gd.Rule) else "",
)
def test_a_rule_drops_what_gives_its_input_back(rule: gd.Rule, before: str, after: list[str]) -> None:
    model = parsed(f"g (float[3,4] x) => (float[3,4] y) {{ {before} }}")
    result = gd.rewrite(model, rule)
    assert lines(result.model) == after
    assert result.applied == {rule.name: 1}
    applied(lambda m: gd.rewrite(m, rule).model, model)
    every_pass = gd.compose(P.drop_identity, P.drop_noops, P.merge_casts)
    assert lines(every_pass(model)) == after


def test_every_rule_has_a_test() -> None:
    tested = (test_a_rule_drops_what_gives_its_input_back,)
    named = {case[0].name for test in tested for case in test.pytestmark[0].args[1]}
    from_here = {name for name in R.__all__ if getattr(R, name).function.__module__.endswith("identities")}
    assert from_here == named


@pytest.mark.parametrize(
    "body",
    [
        "u = Cast<to=10>(x) y = Cast<to=1>(u)",
        "u = Transpose<perm=[1, 0]>(x) y = Transpose<perm=[1, 0]>(u)",
        "s = Constant<value_ints=[4, 3]>() u = Reshape(x, s) y = Transpose(u)",
        "s = Constant<value_ints=[1, 3, 4]>() u = Expand(x, s) y = ReduceMax<axes=[0], keepdims=0>(u)",
        "k = Constant<value_float=0.0>() y = Add(x, k)",  # -0.0 becomes 0.0
        "k = Constant<value_float=1.0>() y = Div(k, x)",
        """a = Constant<value_ints=[2]>() e = Constant<value_ints=[-4]>() t = Constant<value_ints=[0]>()
        p = Constant<value_ints=[-1]>() y = Slice(x, a, e, t, p)""",
        "r = Constant<value_float=0.5>() t = Constant<value=bool {1}>() y = Dropout<seed=3>(x, r, t)",
        "u, m = Dropout(x) f = Cast<to=1>(m) y = Mul(u, f)",
    ],
)
def test_what_changes_something_stays(body: str) -> None:
    model = parsed(f"g (float[3,4] x) => (float[3,4] y) {{ {body} }}")
    assert lines(P.drop_noops(P.drop_identity(model))) == lines(model)


def test_sizes_that_may_differ_are_left_alone() -> None:
    model = parsed("g (float[n,m] x, int64[2] s) => (float[a,b] y) { y = Reshape(x, s) }")
    assert P.drop_noops(model) is model
    one = parsed(
        "g (float[n,4] x) => (float[n,4] y) { s = Constant<value_ints=[-1, 4]>() u = Reshape(x, s) y = Relu(u) }"
    )
    assert lines(P.drop_noops(one)) == ["y = Relu(x)"]


class TestOutputs:
    def test_a_node_takes_the_name_of_the_output_that_an_identity_gave_it(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y) { u = Relu(x) y = Identity(u) }")
        assert lines(applied(P.drop_identity, model)) == ["y = Relu(x)"]

    def test_also_where_others_use_the_value(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y, float[3] z) { u = Relu(x) y = Identity(u) z = Neg(u) }")
        assert lines(applied(P.drop_identity, model)) == ["y = Relu(x)", "z = Neg(y)"]

    def test_a_copy_of_an_input_or_of_an_output_stays(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y) { y = Identity(x) }")
        assert lines(applied(P.drop_identity, model)) == ["y = Identity(x)"]
        model = parsed("g (float[3] x) => (float[3] u, float[3] y) { u = Relu(x) y = Identity(u) }")
        assert lines(applied(P.drop_identity, model)) == ["u = Relu(x)", "y = Identity(u)"]

    def test_two_copies_of_one_value(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y, float[3] z) { u = Relu(x) y = Identity(u) z = Identity(u) }")
        assert lines(applied(P.drop_identity, model)) == ["y = Relu(x)", "z = Identity(y)"]

    def test_what_an_output_declares_stays(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y) { u = Relu(x) y = Identity(u) }")
        proto = model.to_proto()
        proto.graph.output[0].doc_string = "the output"
        proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "named"
        after = P.drop_identity(proto)
        assert interface(after) == interface(gd.load(proto))
        assert after.to_proto().graph.output[0].doc_string == "the output"


def test_bodies_and_functions_are_reached() -> None:
    model = parsed(
        """g (bool b, float[3] x) => (float[3] y) {
            y = If (b) <then_branch = t () => (float[3] p) { v = Relu(x) p = Identity(v) },
                        else_branch = e () => (float[3] q) { q = my.f(x) }>
        }""",
        imports=', "my" : 1',
        functions='<domain: "my", opset_import: ["" : 17]> f (a) => (c) { d = Identity(a) e = Exp(d) c = Identity(e) }',
    )
    after = applied(P.drop_identity, model)
    assert lines(after) == [
        "y = If(b)",
        "  then_branch: v = Relu(x)",
        "  else_branch: q = my.f(x)",
    ]
    assert [node.op_type for node in after.functions[0].graph.nodes] == ["Exp"]


def test_types_that_are_not_known_are_no_obstacle() -> None:
    """In a local function of a file nothing is known of its inputs."""
    functions = """<domain: "my", opset_import: ["" : 17]> f (a, b) => (c) {
        s = Constant<value_ints=[-1]>() k = Constant<value_float=1.0>() n = Constant<value_ints=[1]>()
        d = Cast<to=7>(a) e = Cast<to=1>(d) g = Reshape(e, s) h = Reshape(g, s) i = Transpose<perm=[0]>(h)
        j = Mul(i, k) l = MatMul(j, b) m = Add(l, b) o = Expand(m, n) p = Slice(o, n, s) q = CastLike(p, b)
        r = Flatten(q) t = Identity(r) c = Add(t, r)
    }"""
    main = "g (float[x] a, float[x] b) => (float[y,z] c) { c = my.f(a, b) }"
    model = parsed(main, imports=', "my" : 1', functions=functions)
    for name in R.__all__:
        gd.rewrite(model, getattr(R, name)).model.to_proto()
    for name in P.__all__:
        if callable(getattr(P, name)) and not name.endswith("_dimensions"):
            getattr(P, name)(model).to_proto()
    left = [node.op_type for node in P.simplify(model).functions[0].graph.nodes]
    assert left.count("Reshape") == 1 and not {"Mul", "Identity"} & set(left)


def test_markers_become_identities() -> None:
    x = gd.input("x", gd.float32[3])

    @gd.custom_op("my::Debug")
    def debug(x, *, name: str):
        return x

    model = gd.build({"y": gd.marker(debug(x * 2, name="a"), "b") + 1})
    after = P.debug_to_identity(model)
    assert [node.op_type for node in after.nodes] == ["Mul", "Identity", "Identity", "Add"]
    assert (after.functions, dict(after.opset_imports)) == ((), {"": 21})
    some = P.debug_to_identity(model, "graphdsl::Debug")
    assert [node.op_type for node in some.nodes] == ["Mul", "Debug", "Identity", "Add"]
    assert P.debug_to_identity(after) is after


class TestUnused:
    def test_dead_nodes_of_a_file_go(self) -> None:
        model = parsed(
            """g (bool b, float[3] x) => (float[3] y) {
                u = Exp(x) v = Neg(u)
                y = If (b) <then_branch = t () => (float[3] p) { w = Exp(x) p = Relu(x) },
                            else_branch = e () => (float[3] q) { q = Neg(x) }>
            }"""
        )
        assert lines(applied(P.dead_code, model)) == [
            "y = If(b)",
            "  then_branch: p = Relu(x)",
            "  else_branch: q = Neg(x)",
        ]

    def test_dead_nodes_in_functions_go(self) -> None:
        model = parsed(
            "g (float[3] x) => (float[3] y) { y = my.f(x) }",
            imports=', "my" : 1',
            functions='<domain: "my", opset_import: ["" : 17]> f (a) => (c) { d = Neg(a) c = Exp(a) }',
        )
        assert [node.op_type for node in applied(P.dead_code, model).functions[0].graph.nodes] == ["Exp"]

    def test_a_model_without_dead_nodes_is_the_same_object(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y) { y = Relu(x) }")
        for item in (P.dead_code, P.unused_initializers, P.unused_functions, P.unused_opsets, P.drop_identity):
            assert item(model) is model

    def test_unused_initializers_go_and_inputs_stay(self) -> None:
        model = parsed(
            "g (float[1] x, float[1] d) => (float[1] y) <float[1] w = {1}, float[1] d = {2}, float[1] v = {3}>"
            " { y = Add(x, v) }"
        )
        after = P.unused_initializers(model)
        assert [tensor.name for tensor in after.to_proto().graph.initializer] == ["d", "v"]
        assert [value.name for value in after.inputs] == ["x", "d"]

    def test_unused_functions_and_imports_go(self) -> None:
        functions = '<domain: "my", opset_import: ["" : 17]> f (a) => (c) { c = Exp(a) }'
        model = parsed("g (float[3] x) => (float[3] y) { y = Relu(x) }", imports=', "my" : 1', functions=functions)
        after = gd.compose(P.unused_functions, P.unused_opsets)(model)
        assert (after.functions, dict(after.opset_imports)) == ((), {"": 17})
        assert len(model.functions) == 1


class TestDuplicates:
    @pytest.mark.parametrize(
        "body, left",
        [
            ("a = Exp(x) b = Exp(x) y = Add(a, b)", ["a = Exp(x)", "y = Add(a, a)"]),
            (
                "a = Exp(x) b = Exp(x) c = Neg(a) d = Neg(b) y = Add(c, d)",
                ["a = Exp(x)", "c = Neg(a)", "y = Add(c, c)"],
            ),
            (
                "a = Softmax<axis=-1>(x) b = Softmax(x) y = Add(a, b)",
                ["a = Softmax[axis=-1](x)", "y = Add(a, a)"],
            ),
        ],
    )
    def test_equal_nodes_become_one(self, body: str, left: list[str]) -> None:
        model = parsed(f"g (float[3,4] x) => (float[3,4] y) {{ {body} }}")
        assert lines(applied(P.merge_duplicates, model)) == left

    @pytest.mark.parametrize(
        "body",
        [
            "a = RandomNormalLike(x) b = RandomNormalLike(x) y = Add(a, b)",
            "p = Sigmoid(x) a = Bernoulli(p) b = Bernoulli(p) y = Add(a, b)",
            """r = Constant<value_float=0.5>() t = Constant<value=bool {1}>()
            a = Dropout(x, r, t) b = Dropout(x, r, t) y = Add(a, b)""",
            "a = my.Draw(x) b = my.Draw(x) y = Add(a, b)",
            "a = Softmax<axis=0>(x) b = Softmax(x) y = Add(a, b)",
            "a = Elu<alpha=0.0>(x) b = Elu<alpha=-0.0>(x) y = Add(a, b)",
        ],
    )
    def test_what_is_not_the_same_stays(self, body: str) -> None:
        model = parsed(f"g (float[3,4] x) => (float[3,4] y) {{ {body} }}", imports=', "my" : 1')
        assert P.merge_duplicates(model) is model

    def test_a_body_uses_what_its_surroundings_have(self) -> None:
        model = parsed(
            """g (bool b, float[3] x) => (float[3] y, float[3] z) {
                z = Exp(x)
                y = If (b) <then_branch = t () => (float[3] p) { w = Exp(x) p = Relu(w) },
                            else_branch = e () => (float[3] q) { w = Exp(x) q = Neg(w) }>
                u = Relu(z)
            }"""
        )
        assert lines(applied(P.merge_duplicates, model)) == [
            "z = Exp(x)",
            "y = If(b)",
            "  then_branch: p = Relu(z)",
            "  else_branch: q = Neg(z)",
            "u = Relu(z)",
        ]

    def test_nodes_of_two_branches_stay_apart(self) -> None:
        model = parsed(
            """g (bool b, float[3] x) => (float[3] y) {
                y = If (b) <then_branch = t () => (float[3] p) { p = Exp(x) },
                            else_branch = e () => (float[3] q) { w = Exp(x) q = Neg(w) }>
            }"""
        )
        assert P.merge_duplicates(model) is model

    def test_equal_initializers_become_one(self) -> None:
        model = parsed(
            "g (float[2] x) => (float[2] y) <float[2] v = {1, 2}, float[2] w = {1, 2}, float[2] z = {0, 0}, "
            "float[2] n = {-0.0, 0}> { a = Add(x, v) b = Mul(a, w) c = Div(b, z) y = Mul(c, n) }"
        )
        after = applied(P.merge_duplicates, model)
        assert lines(after) == ["a = Add(x, v)", "b = Mul(a, v)", "c = Div(b, z)", "y = Mul(c, n)"]
        assert [tensor.name for tensor in after.to_proto().graph.initializer] == ["v", "z", "n"]

    def test_an_output_that_a_file_leaves_out_stays_out(self) -> None:
        model = parsed(
            """g (float[1,1,4,4] x) => (float[1,1,3,3] y, int64[1,1,3,3] i) {
                y, = MaxPool<kernel_shape=[2,2]>(x)
                u, i = MaxPool<kernel_shape=[2,2]>(x)
            }""".replace("y, =", "y =")
        )
        proto = model.to_proto()
        proto.graph.node[0].output.append("")
        assert len(P.merge_duplicates(proto).nodes) == 2

    def test_outputs_keep_their_names(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y, float[3] z) { y = Exp(x) z = Exp(x) }")
        assert lines(applied(P.merge_duplicates, model)) == ["y = Exp(x)", "z = Identity(y)"]

    @pytest.mark.parametrize("opset, left", [(13, 2), (14, 1)])
    def test_sequences_are_merged_where_two_outputs_can_be_one(self, opset: int, left: int) -> None:
        with gd.opset(opset):
            x = gd.input("x", gd.float32[3])
            model = gd.build({"y": op.SequenceConstruct(x, x), "z": op.SequenceConstruct(x, x)})
        after = applied(P.merge_duplicates, model)
        assert [node.op_type for node in after.nodes] == ["SequenceConstruct"] * left


class TestStorage:
    def test_constant_nodes_become_initializers_and_back(self) -> None:
        model = parsed(
            "g (float[2] x) => (float[2] y, int64[2] z) { k = Constant<value_float=2.0>() u = Mul(x, k) "
            "w = Constant<value_ints=[1, 2]>() z = Identity(w) t = Constant<value=float[2] {3, 4}>() y = Add(u, t) }"
        )
        after = applied(P.constants_to_initializers, model)
        assert lines(after) == ["u = Mul(x, k)", "z = Identity(w)", "y = Add(u, t)"]
        assert [tensor.name for tensor in after.to_proto().graph.initializer] == ["k", "w", "t"]
        back = applied(P.initializers_to_constants, after)
        assert lines(back) == [
            "k = Constant[value=2.0]()",
            "u = Mul(x, k)",
            "w = Constant[value=[1, 2]]()",
            "z = Identity(w)",
            "t = Constant[value=[3.0, 4.0]]()",
            "y = Add(u, t)",
        ]
        assert list(back.to_proto().graph.initializer) == []

    def test_inputs_with_a_default_become_initializers(self) -> None:
        model = parsed(
            "g (float[2] x, float[2] w, float[2] unused) => (float[2] y, float[2] v) "
            "<float[2] w = {3, 4}, float[2] unused = {5, 6}> { y = Mul(x, w) v = Identity(w) }",
            ir=3,
        )
        after = P.freeze_defaults(model)
        assert gd.check(after) == ()
        x = {"x": np.float32([1, 2])}
        assert {k: v.tolist() for k, v in after.run(x).items()} == {"y": [3, 8], "v": [3, 4]}
        assert lines(after) == ["y = Mul(x, w)", "v = Identity(w)"]
        proto = after.to_proto()
        assert [info.name for info in proto.graph.input] == ["x"]
        assert [tensor.name for tensor in proto.graph.initializer] == ["w", "unused"]
        assert proto.ir_version == 4  # until then every initializer is an input
        assert P.freeze_defaults(after) is after
        assert [value.name for value in model.inputs] == ["x", "w", "unused"]

    def test_weights_that_are_frozen_can_be_fused(self) -> None:
        path = Path(onnx.__file__).parent / "backend/test/data/light/light_squeezenet.onnx"
        as_it_is, frozen = P.simplify(path), P.simplify(P.freeze_defaults(path))
        assert len(frozen.nodes) < len(as_it_is.nodes)

    def test_the_constant_of_a_body_is_made_there(self) -> None:
        x, b = gd.input("x", gd.float32[2]), gd.input("b", gd.bool[()])
        model = gd.build({"y": op.If(b, then_branch=lambda: x * 3, else_branch=lambda: x * 4)}, inputs=[b, x])
        after = applied(P.initializers_to_constants, model)
        assert sum("= Constant" in line for line in lines(after)) == 2
        assert list(after.to_proto().graph.initializer) == []

    def test_an_output_may_be_a_constant(self) -> None:
        model = parsed("g (float[2] x) => (float[2] y, float z) { z = Constant<value_float=2.0>() y = Mul(x, z) }")
        assert lines(applied(P.constants_to_initializers, model)) == ["y = Mul(x, z)"]


class TestComposing:
    def test_passes_in_order(self) -> None:
        tidy = gd.compose(P.merge_duplicates, P.drop_identity)
        assert tidy.__name__ == "merge_duplicates then drop_identity"
        model = parsed("g (float[3] x) => (float[3] y) { a = Identity(x) b = Exp(a) c = Exp(x) y = Add(b, c) }")
        assert lines(tidy(model)) == ["b = Exp(x)", "c = Exp(x)", "y = Add(b, c)"]
        assert gd.compose()(model) is model

    @pytest.mark.parametrize(
        "wrong, text",
        [
            (lambda: gd.compose(3), "gd.compose takes functions from model to model, got 3"),
            (
                lambda: gd.compose(R.drop_identity),
                "gd.compose takes functions from model to model, got <rule 'drop_identity'>; write lambda m: gd.",
            ),
            (
                lambda: gd.compose(repr)(gd.build(gd.input("x", gd.float32[2]) * 2)),
                "gd.compose: repr returned str, not",
            ),
        ],
    )
    def test_what_is_no_pass_is_refused(self, wrong: Callable[[], object], text: str) -> None:
        with pytest.raises(gd.BuildError) as caught:
            wrong()
        assert str(caught.value).startswith(text)

    def test_a_pass_takes_protos_and_paths(self, tmp_path) -> None:
        model = parsed("g (float[3] x) => (float[3] y) { u = Identity(x) y = Exp(u) }")
        model.save(tmp_path / "m.onnx")
        for source in (model, model.to_proto(), tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
            assert lines(P.drop_identity(source)) == ["y = Exp(x)"]


class TestTheSweep:
    """What the sweep beneath passes keeps of loaded models."""

    def test_declared_types_of_operators_that_nobody_infers(self) -> None:
        text = "g (float[3] x) => (float[3] y) <float[3] v> { u = Identity(x) v = my.Op(u) y = Exp(v) }"
        after = P.drop_identity(parsed(text, imports=', "my" : 1'))
        assert after["v"].shape == (3,)

    def test_a_call_that_inference_refuses(self) -> None:
        proto = parsed("g (float[2,3] x) => (float[2,2] y) { u = Identity(x) y = Exp(u) }").to_proto()
        proto.graph.node[1].op_type = "MatMul"
        proto.graph.node[1].input.append("u")
        assert lines(P.drop_identity(proto)) == ["y = MatMul(x, x)"]

    def test_the_same_arrays(self) -> None:
        weight = np.ones((256, 256), np.float32)
        x = gd.input("x", gd.float32[1, 256])
        after = P.drop_identity(gd.build({"y": op.Identity(x) @ weight}))
        assert np.shares_memory(after.nodes[0].inputs[1].array, weight)
