"""What a rewrite must not break: types, randomness, sharing, names, bodies; and where new nodes come from."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op
from graphdsl.sites import locate


def vector(name: str = "x", kind: gd.Type = gd.float32[3]) -> gd.Tensor:
    return gd.input(name, kind)


def parsed(body: str, imports: str = '"" : 17', ir_version: int = 8) -> gd.Model:
    return gd.load(onnx.parser.parse_model(f"<ir_version: {ir_version}, opset_import: [{imports}]> {body}"))


def operators(model: gd.Model) -> list[str]:
    onnx.checker.check_model(model.to_proto(), full_check=True)
    return [node.op_type for node in model.nodes]


def reasons(result: gd.RewriteResult[Any]) -> list[str]:
    return [skip.reason for skip in result.skipped]


@gd.rule(lambda x, y: x + y)
def add_to_sub(x, y):
    return x - y


@gd.rule(lambda x: op.Identity(x))
def drop_identity(x):
    return x


@gd.rule(lambda x: op.Relu(op.Relu(x)))
def relu_once(x):
    return op.Relu(x)


class TestTypes:
    def test_a_type_that_is_not_known_must_stay_so_and_is_counted(self) -> None:
        x, y = vector("x", gd.float32[None]), vector("y", gd.float32[None])
        result = gd.rewrite(gd.build({"z": x + y}), add_to_sub)
        assert (result.applied, result.unproven) == ({"add_to_sub": 1}, 1)
        x, y = vector("x", gd.float32["n"]), vector("y", gd.float32["n"])
        assert gd.rewrite(gd.build({"z": x + y}), add_to_sub).unproven == 0

    def test_a_type_may_become_more_exact_where_the_rule_says_so(self) -> None:
        def flat(x):
            return x.reshape(6)

        shape = vector("shape", gd.int64[1])
        model = gd.build({"y": op.Relu(op.Reshape(vector("x", gd.float32[2, 3]), shape))})
        pattern = lambda x, s: op.Reshape(x, s)  # noqa: E731
        assert reasons(gd.rewrite(model, gd.rule(pattern)(flat))) == ["float32[None] would become float32[6]"]
        result = gd.rewrite(model, gd.rule(pattern, refine=True)(flat))
        assert (result.applied, result.unproven) == ({"flat": 1}, 1)
        assert result.model["y"].shape == (6,)

    def test_another_dtype_is_refused_also_where_it_may_be_refined(self) -> None:
        wrong = gd.rule(lambda x: op.Abs(x), refine=True)(lambda x: x.astype(gd.float64))
        assert reasons(gd.rewrite(gd.build(op.Abs(vector())), wrong)) == ["float32[3] would become float64[3]"]

    def test_what_depends_on_a_value_is_inferred_again(self) -> None:
        n = gd.constant(np.int64([2]))
        flat = op.Reshape(vector("x", gd.float32[6]), op.Concat(n + 1, n, axis=0))
        swap = gd.rule(lambda a, b: op.Concat(a, b, axis=0))(lambda a, b: op.Concat(b, a, axis=0))
        after = gd.rewrite(gd.build({"y": op.Relu(flat)}), swap).model
        assert after["y"].shape == (2, 3)
        assert after(np.arange(6, dtype=np.float32)).shape == (2, 3)


class TestRandomness:
    def test_a_random_operator_is_not_drawn_twice(self) -> None:
        drawn = op.RandomNormalLike(vector())
        rule = gd.rule(lambda x: -op.RandomNormalLike(x), keep_shared=True)(lambda x: op.RandomNormalLike(x) * -1.0)
        shared = gd.rewrite(gd.build({"y": -drawn, "r": drawn}), rule)
        assert reasons(shared) == ["RandomNormalLike, a random operator, would be there twice"]
        alone = gd.rewrite(gd.build({"y": -op.RandomNormalLike(vector())}), rule)
        assert operators(alone.model) == ["RandomNormalLike", "Mul"]

    def test_two_random_operators_do_not_become_one(self) -> None:
        x = vector()
        pattern = lambda x: op.RandomNormalLike(x) + op.RandomNormalLike(x)  # noqa: E731
        two = gd.build({"y": op.RandomNormalLike(x) + op.RandomNormalLike(x)})
        merge = gd.rule(pattern)(lambda x: op.RandomNormalLike(x) * 2.0)
        assert reasons(gd.rewrite(two, merge)) == ["2 random operators would become 1"]
        drop = gd.rule(pattern)(lambda x: x)
        assert operators(gd.rewrite(two, drop).model) == []

    def test_randomness_inside_a_function_or_a_body_counts(self) -> None:
        @gd.function(domain="my")
        def noise(x):
            return op.RandomNormalLike(x)

        rule = gd.rule(lambda x: -noise(x), keep_shared=True)(lambda x: noise(x) * -1.0)
        drawn = noise(vector())
        (reason,) = reasons(gd.rewrite(gd.build({"y": -drawn, "r": drawn}), rule))
        assert reason == "my::noise, a random operator, would be there twice"

    def test_what_onnx_flags_only_for_its_function_is_not_random(self) -> None:
        x = vector("x", gd.float32[1, 4, 2, 2])
        inner = op.DepthToSpace(x, blocksize=2)
        rule = gd.rule(lambda x: -op.DepthToSpace(x, blocksize=2), keep_shared=True)(
            lambda x: op.DepthToSpace(-x, blocksize=2)
        )
        assert gd.rewrite(gd.build({"y": -inner, "r": inner}), rule).applied == {"<lambda>": 1}


class TestSharing:
    def test_a_value_is_free_once_its_other_user_is_gone(self) -> None:
        inner = op.Relu(vector())
        model = gd.build({"a": op.Relu(inner), "b": op.Abs(op.Mul(inner, 0.0))})
        assert gd.rewrite(model, relu_once).applied == {}
        forget = gd.rule(lambda x: op.Mul(x, 0))(lambda x: gd.constant(np.zeros(3, np.float32)))
        result = gd.rewrite(model, relu_once, forget)
        assert result.applied == {"<lambda>": 1, "relu_once": 1}
        assert result.skipped == ()

    def test_an_output_is_never_an_inner_value(self) -> None:
        inner = op.Relu(vector())
        assert reasons(gd.rewrite(gd.build({"a": op.Relu(inner), "b": inner}), relu_once)) == ["'b' is used elsewhere"]

    def test_a_body_that_captures_a_value_uses_it(self) -> None:
        flag, inner = vector("flag", gd.bool[()]), op.Relu(vector()).named("inner")
        other = op.If(flag, then_branch=lambda: inner * 2.0, else_branch=lambda: inner)
        result = gd.rewrite(gd.build({"a": op.Relu(inner), "b": other}), relu_once)
        assert reasons(result) == ["'inner' is used elsewhere"]

    def test_another_output_of_the_root_is_used(self) -> None:
        values, where = op.TopK(vector(), [2], outputs=2)
        rule = gd.rule(lambda x, k: op.TopK(x, k, outputs=2)[0])(lambda x, k: op.TopK(x, k, outputs=2)[0])
        assert reasons(gd.rewrite(gd.build({"v": values, "w": where}), rule)) == [
            "its output 'w' is used, and not in the pattern"
        ]
        assert gd.rewrite(gd.build({"v": values}), rule).applied == {"<lambda>": 1}

    def test_an_inner_value_that_is_an_input_of_the_match_too(self) -> None:
        x = vector()
        h = op.Relu(x)
        rule = gd.rule(lambda x, y: op.Relu(x) + y)(lambda x, y: x + y)
        (reason,) = reasons(gd.rewrite(gd.build({"y": h + h}), rule))
        assert reason == "'Relu_0' is both inside the match and an input of it"

    def test_another_output_of_an_inner_node_is_an_input_of_the_match_too(self) -> None:
        @gd.rule(lambda x, y: op.Relu(op.Split(x, num_outputs=2)[0]) + y)
        def without_split(x, y):
            return op.Relu(x[:2]) + y

        first, second = op.Split(vector(kind=gd.float32[4]), num_outputs=2)
        result = gd.rewrite(gd.build({"y": op.Relu(first) + second}), without_split)
        assert not result.firings
        assert "is both inside the match and an input of it" in reasons(result)[0]

    def test_a_value_is_shared_also_once_it_was_made_anew(self) -> None:
        once = op.Relu(op.Identity(vector()))
        model = gd.build({"y": op.Relu(once) + once})
        result = gd.rewrite(model, drop_identity, relu_once)
        assert result.applied == {"drop_identity": 1}
        assert "is used elsewhere" in reasons(result)[0]


class TestNamesAndOrder:
    def test_inputs_and_outputs_stay_where_an_output_becomes_an_input(self) -> None:
        x, y = vector("x"), vector("y")
        model = gd.build({"b": op.Identity(y), "a": op.Identity(x), "c": op.Identity(op.Identity(x))}, inputs=[y, x])
        after = gd.rewrite(model, drop_identity).model
        proto = after.to_proto()
        assert [info.name for info in proto.graph.input] == ["y", "x"]
        assert [info.name for info in proto.graph.output] == ["b", "a", "c"]
        feeds = {"x": np.float32([1, 2, 3]), "y": np.float32([4, 5, 6])}
        for name, array in model.run(feeds).items():
            np.testing.assert_array_equal(after.run(feeds)[name], array)

    def test_what_a_file_says_of_an_output_stays(self) -> None:
        model = parsed("g (float[n] x, float[n] y) => (float[length] z) { z = Add (x, y) }")
        proto = gd.rewrite(model, add_to_sub).model.to_proto()
        assert proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "length"

    def test_untouched_nodes_keep_their_bytes(self) -> None:
        proto = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[3] x) => (float[3] y) { a = Add (x, x) y = Relu (a) }'
        )
        proto.graph.node[1].name, proto.graph.node[1].doc_string = "last", "what it is for"
        after = gd.rewrite(gd.load(proto), add_to_sub).model.to_proto()
        assert after.graph.node[1].SerializeToString() == proto.graph.node[1].SerializeToString()

    def test_a_node_with_changed_bodies_keeps_its_metadata(self) -> None:
        body = "g (float[3] x, bool c) => (float[3] y) {{ y = If (c) <then_branch = t () => (float[3] a) {{ {} }}, "
        text = body.format("a = Add (x, x)") + "else_branch = e () => (float[3] b) { b = Relu (x) }> }"
        proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 17]> {text}')
        entry = proto.graph.node[0].metadata_props.add()
        entry.key, entry.value = "namespace", "block"
        after = gd.rewrite(gd.load(proto), add_to_sub).model.to_proto()
        (found,) = after.graph.node[0].metadata_props
        assert (found.key, found.value) == ("namespace", "block")
        assert after.graph.node[0].attribute[0].g.node[0].op_type == "Sub"


class TestOrigins:
    def test_new_nodes_have_the_metadata_of_the_old_one(self) -> None:
        proto = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 17]> g (float[3] x) => (float[3] y) { a = Add (x, x) y = Relu (a) }'
        )
        entry = proto.graph.node[0].metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'b1']"
        (node, _) = gd.rewrite(gd.load(proto), add_to_sub).model.to_proto().graph.node
        assert (node.op_type, node.output[0]) == ("Sub", "a")
        assert [(p.key, p.value) for p in node.metadata_props] == [("pkg.torch.onnx.name_scopes", "['', 'b1']")]

    def test_new_nodes_know_the_old_line_and_the_rule(self) -> None:
        x = vector()
        model = gd.build({"y": x + x})  # the line of the old node
        (node,) = gd.rewrite(model, add_to_sub).model.nodes
        assert "the line of the old node" in str(locate(node.site))
        assert node.info is not None and node.info.origin is not None
        assert node.info.origin.rule == "add_to_sub"
        assert "return x - y" in str(locate(node.info.origin.site))
        (made,) = gd.rewrite(model, add_to_sub).model.to_proto(locations=True).graph.node
        said = {entry.key: entry.value for entry in made.metadata_props}
        assert "the line of the old node" in said["graphdsl.location"]
        assert said["graphdsl.rule"].startswith("add_to_sub, ") and "return x - y" in said["graphdsl.rule"]

    def test_the_runtime_names_the_rule_of_a_node_that_fails(self) -> None:
        x, shape = vector(), vector("shape", gd.int64[1])
        rule = gd.rule(lambda x, s: op.Reshape(x, s))(lambda x, s: op.Reshape(op.Relu(x), s))
        model = gd.rewrite(gd.build({"y": op.Reshape(x, shape)}), rule).model
        with pytest.raises(gd.RunError) as caught:
            model(np.ones(3, np.float32), np.int64([7]))
        assert "\n  by rule '<lambda>' at " in str(caught.value)

    def test_which_tensors_stand_for_which(self) -> None:
        x = vector()
        model = gd.build({"y": op.Relu(op.Relu(x * x + x)), "z": op.Identity(op.Abs(x))})
        result = gd.rewrite(model, relu_once, add_to_sub, drop_identity)
        assert operators(model) == ["Mul", "Add", "Relu", "Relu", "Abs", "Identity"]
        assert operators(result.model) == ["Mul", "Sub", "Relu", "Abs"]
        assert result.tensors == {"x": "x", "Mul_0": "Mul_0", "Add_0": "Sub_0", "y": "y", "Abs_0": "z", "z": "z"}
        feeds = {"x": np.float32([1, -2, 3])}
        assert gd.rewrite(model).tensors == {
            name: name for name in ("x", "Mul_0", "Add_0", "Relu_0", "y", "Abs_0", "z")
        }
        assert set(result.model.run(feeds)) == {"y", "z"}


class TestScope:
    def test_a_tensor_of_another_graph_is_refused(self) -> None:
        other = vector("other")
        rule = gd.rule(lambda x: op.Abs(x))(lambda x: x + other)
        model = gd.build(op.Abs(vector()))
        with pytest.raises(gd.BuildError) as caught:
            gd.rewrite(model, rule)
        first, old, foreign = str(caught.value).splitlines()
        assert first == (
            "the tensor 'other' is not made before Abs, so it cannot take its place or be used for it; "
            "build on the inputs"
        )
        assert old.endswith("model = gd.build(op.Abs(vector()))") and "return gd.input(name, kind)" in foreign

    def test_what_goes_wrong_leads_to_the_line_of_the_user(self) -> None:
        model = gd.build(op.Abs(vector()))
        with pytest.raises(gd.BuildError) as caught:
            gd.transform(model, lambda node, inputs: (inputs[0], inputs[0]))  # a tensor too many
        assert str(caught.value).splitlines()[-1].endswith("# a tensor too many")

    def test_a_later_tensor_is_refused(self) -> None:
        x = vector()
        model = gd.build({"y": op.Exp(op.Abs(x)).named("later")})
        with pytest.raises(gd.BuildError, match="'later' is not made before Abs"):
            gd.transform(model, lambda node, inputs: model["later"] if node.op_type == "Abs" else None)

    def test_sizes_computed_elsewhere_are_computed_anew(self) -> None:
        x = vector("x", gd.float32["n", 4])
        elsewhere = op.Expand(np.float32(0), [x.shape[0], 4])  # the program remembers how it computed the size of x
        rule = gd.rule(lambda x: op.Abs(x))(lambda x: x + op.Expand(np.float32(0), [x.shape[0], 4]))
        result = gd.rewrite(gd.build({"y": op.Abs(x)}), rule)
        assert result.applied == {"<lambda>": 1}
        array = np.arange(8, dtype=np.float32).reshape(2, 4)
        np.testing.assert_array_equal(result.model(array), array)
        assert elsewhere.rank == 2

    def test_an_error_in_a_rule_says_where_it_was_applied(self) -> None:
        rule = gd.rule(lambda x: op.Abs(x), name="broken")(lambda x: x.shape[7])
        with pytest.raises(IndexError) as caught:
            gd.rewrite(gd.build({"y": op.Abs(vector())}), rule)
        assert caught.value.__notes__[0].startswith("in rule 'broken', at 'y'\n  at ")


class TestBodiesAndFunctions:
    def test_in_a_loop_the_captured_value_is_a_leaf(self) -> None:
        x = vector()
        outer = op.Relu(x).named("outer")
        y = op.Loop(2, None, x, body=lambda i, c, h: (c, op.Relu(outer) + h))
        model = gd.build({"y": y})
        assert gd.rewrite(model, relu_once).applied == {}
        assert relu_once.explain(model, ("y", "body", "Relu_0")).endswith("comes from an enclosing graph")
        after = gd.rewrite(model, add_to_sub).model
        np.testing.assert_array_equal(after(np.float32([1, 2, 3])), [1, 2, 3])

    def test_a_match_lies_in_one_graph_also_where_what_it_shares_stays(self) -> None:
        @gd.rule(lambda x: op.Relu(op.Relu(x)), keep_shared=True)
        def relu_once_anywhere(x):
            return op.Relu(x)

        for outer in (op.Relu(vector()), op.Relu(op.Identity(vector()))):
            branches = {"then_branch": lambda: op.Relu(outer), "else_branch": lambda: op.Relu(op.Relu(outer))}  # noqa: B023
            model = gd.build({"y": op.If(vector("c", gd.bool[()]), **branches)})
            result = gd.rewrite(model, drop_identity, relu_once_anywhere)
            assert result.applied["relu_once_anywhere"] == 1
            bodies = result.model.nodes[-1].bodies
            assert [len(body.nodes) for body in bodies] == [1, 1]
            assert all(body.captures == result.model.nodes[-2].outputs for body in bodies)

    def test_at_reaches_into_bodies(self) -> None:
        flag, x = vector("flag", gd.bool[()]), vector()
        y = op.If(flag, then_branch=lambda: x + 1.0, else_branch=lambda: x + 2.0)
        model = gd.build({"y": y})
        result = gd.rewrite(model, add_to_sub, at=[("y", "then_branch", "output")])
        assert result.applied == {"add_to_sub": 1}
        np.testing.assert_array_equal(result.model(True, np.ones(3, np.float32)), [0, 0, 0])
        np.testing.assert_array_equal(result.model(False, np.ones(3, np.float32)), [3, 3, 3])

    def test_nodes_in_bodies_that_a_rule_makes_are_rewritten_too(self) -> None:
        x = vector()

        @gd.rule(lambda x: op.Abs(x))
        def branch(x):
            return op.If(x.sum() > 0, then_branch=lambda: x + 1.0, else_branch=lambda: x)

        result = gd.rewrite(gd.build({"y": op.Abs(x)}), branch, add_to_sub)
        assert result.applied == {"branch": 1, "add_to_sub": 1}

    def test_a_function_called_with_several_types_is_rewritten_for_all(self) -> None:
        @gd.function(domain="my")
        def absolute(a):
            return op.Abs(a)

        model = gd.build({"y": absolute(vector("a")), "z": absolute(vector("b", gd.float32[5]))})
        assert len(model.functions) == 1
        padded = gd.rule(lambda x=gd.float32[3]: op.Abs(x))(lambda x: x + np.zeros(3, np.float32))
        assert gd.rewrite(model, padded).applied == {}
        either = gd.rule(lambda x: op.Abs(x), name="either")(lambda x: op.Max(x, -x))
        result = gd.rewrite(model, either)
        assert (result.applied, result.unproven) == ({"either": 1}, 1)
        found = result.model.run({"a": [-1, 2, 3], "b": [1, -2, 3, -4, 5]})
        np.testing.assert_array_equal(found["y"], [1, 2, 3])
        np.testing.assert_array_equal(found["z"], [1, 2, 3, 4, 5])

    def test_a_function_called_with_one_type_may_be_rewritten_for_it(self) -> None:
        @gd.function(domain="my")
        def absolute(a):
            return op.Abs(a)

        rule = gd.rule(lambda x=gd.float32[3]: op.Abs(x))(lambda x: op.Max(x, -x))
        assert gd.rewrite(gd.build({"y": absolute(vector())}), rule).applied == {"<lambda>": 1}


class TestEnding:
    def test_firings_without_end_are_stopped_and_named(self) -> None:
        count = 0

        @gd.rule(lambda x, k: op.Mul(x, k))
        def grow(x, k):
            nonlocal count
            count += 1
            return op.Add(x, np.float32(count))

        @gd.rule(lambda x, k: op.Add(x, k))
        def shrink(x, k):
            return op.Relu(x) * k

        @gd.rule(lambda x, k: op.Relu(x) * k)
        def rewind(x, k):
            return op.Relu(x) + op.Relu(k)

        result = gd.rewrite(gd.build({"y": vector() * 2.0}), grow, shrink, rewind)
        assert sum(result.applied.values()) <= 1008
        assert result.skipped

    def test_a_sink_and_a_rise_stop(self) -> None:
        sink = gd.rule(lambda x: op.Relu(op.Transpose(x)), name="sink")(lambda x: op.Transpose(op.Relu(x)))
        rise = gd.rule(lambda x: op.Transpose(op.Relu(x)), name="rise")(lambda x: op.Relu(op.Transpose(x)))
        h = vector("x", gd.float32[2, 2])
        for _ in range(5):
            h = op.Relu(op.Transpose(h))
        result = gd.rewrite(gd.build({"y": h}), sink, rise)
        assert sorted(operators(result.model)) == ["Relu"] * 5 + ["Transpose"] * 5
        assert sum(result.applied.values()) <= 1000 + 8 * 10

    def test_what_moves_moves_to_the_end_in_one_sweep(self) -> None:
        rise = gd.rule(lambda x: op.Transpose(op.Relu(x)), name="rise")(lambda x: op.Relu(op.Transpose(x)))
        h = vector("x", gd.float32[2, 2])
        for _ in range(50):
            h = op.Relu(h)
        result = gd.rewrite(gd.build({"y": op.Transpose(h)}), rise)
        assert result.applied == {"rise": 50}
        assert operators(result.model) == ["Transpose"] + ["Relu"] * 50


def test_explain_says_why_a_match_is_left_alone() -> None:
    inner = op.Relu(vector()).named("inner")
    model = gd.build({"y": op.Relu(inner), "i": inner})
    assert relu_once.explain(model, "y") == (
        "rule 'relu_once' matches at 'y', and is left alone: 'inner' is used elsewhere"
    )
    assert relu_once.explain(gd.build({"y": op.Relu(op.Relu(vector()))}), "y") == "rule 'relu_once' matches at 'y'"


def test_find_takes_a_rule_and_gives_tensors() -> None:
    model = gd.build({"y": op.Relu(op.Relu(vector()))})
    (match,) = gd.find(model, relu_once)
    assert match.bindings["x"].name == "x"
    assert [tensor.name for tensor in match.outputs] == ["y"] or match.outputs[0].is_same(model["y"])
    assert [node.op_type for node in match.interior] == ["Relu"]


def test_protos_and_files_are_models_too(tmp_path: Path) -> None:
    model = gd.build({"y": op.Relu(op.Relu(vector()))})
    model.save(tmp_path / "model.onnx")
    for source in (model.to_proto(), str(tmp_path / "model.onnx")):
        assert operators(gd.rewrite(source, relu_once).model) == ["Relu"]
        assert len(gd.find(source, relu_once)) == 1
        assert relu_once.explain(source, "y") == "rule 'relu_once' matches at 'y'"
        assert operators(gd.transform(source, lambda node, inputs: -inputs[0])) == ["Neg", "Neg"]
