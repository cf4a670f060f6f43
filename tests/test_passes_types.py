"""Passes that change types: float16, dimensions, what is written down; and all sound passes together."""

from typing import Any

import numpy as np
import onnx
import pytest
from backend import on_runtime
from onnx import numpy_helper
from passing import applied, feeds_for, interface, lines, parsed

import graphdsl as gd
from graphdsl import op

P = gd.passes


def dims(info: onnx.ValueInfoProto) -> list[Any]:
    return [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]


class TestFloat16:
    MODEL = """g (float[2,3] x) => (float[2,4] y) <float[3,4] w = {1,2,3,4,5,6,7,8,9,1,2,3}, float k = {0.5}> {
        a = MatMul(x, w) b = Mul(a, k) y = Tanh(b)
    }"""

    def test_inputs_and_outputs_stay_float32(self) -> None:
        model = parsed(self.MODEL)
        after = P.to_float16(model)
        assert lines(after) == [
            "Cast_0 = Cast[to=10](x)",
            "a = MatMul(Cast_0, w)",
            "b = Mul(a, k)",
            "y_1 = Tanh(b)",
            "y = Cast[to=1](y_1)",
        ]
        assert interface(after) == interface(model)
        assert [tensor.data_type for tensor in after.to_proto().graph.initializer] == [onnx.TensorProto.FLOAT16] * 2
        near(model, after)

    def test_or_become_float16(self) -> None:
        model = parsed(self.MODEL)
        after = P.to_float16(model, keep_io=False)
        assert lines(after) == ["a = MatMul(x, w)", "b = Mul(a, k)", "y = Tanh(b)"]
        kinds = [info.type.tensor_type.elem_type for g in [after.to_proto().graph] for info in (*g.input, *g.output)]
        assert kinds == [onnx.TensorProto.FLOAT16] * 2
        assert [dims(info) for info in after.to_proto().graph.output] == [[2, 4]]
        (found,) = on_runtime(after.to_proto(), [feeds_for(model)[0].astype(np.float16)])
        assert found.dtype == np.float16

    @pytest.mark.parametrize("keep", ["Mul", "b", ["Mul"]])
    def test_what_is_kept_is_computed_in_float32(self, keep: Any) -> None:
        model = parsed(self.MODEL)
        after = P.to_float16(model, keep=keep)
        assert lines(after) == [
            "Cast_0 = Cast[to=10](x)",
            "a = MatMul(Cast_0, w)",
            "a_1 = Cast[to=1](a)",
            "b = Mul(a_1, k)",
            "Cast_1 = Cast[to=10](b)",
            "y_1 = Tanh(Cast_1)",
            "y = Cast[to=1](y_1)",
        ]
        near(model, after)

    def test_what_does_not_exist_cannot_be_kept(self) -> None:
        with pytest.raises(gd.GraphError, match="has no tensor 'bb'; did you mean 'b'"):
            P.to_float16(parsed(self.MODEL), keep="bb")
        with pytest.raises(gd.GraphError, match="keep='x' is made by no node; name what uses it"):
            P.to_float16(parsed(self.MODEL), keep="x")

    def test_constants_stay_finite_and_other_than_zero(self) -> None:
        model = parsed("g (float[4] x) => (float[4] y) <float[4] w = {1e9, -1e9, 1e-12, 0}> { y = Add(x, w) }")
        (tensor,) = P.to_float16(model).to_proto().graph.initializer
        assert numpy_helper.to_array(tensor).tolist() == [65504, -65504, 2**-24, 0]

    def test_the_scales_of_resize_stay_float32(self) -> None:
        model = parsed(
            "g (float[1,1,2,2] x) => (float[1,1,4,4] y) <float[4] s = {1, 1, 2, 2}> "
            '{ a = Relu(x) b = Resize<mode="nearest">(a, , s) y = Neg(b) }'
        )
        after = P.to_float16(model)
        assert [line.split("(")[0] for line in lines(after)][2] == "b = Resize[mode=nearest]"
        (tensor,) = after.to_proto().graph.initializer
        assert tensor.data_type == onnx.TensorProto.FLOAT
        near(model, after)

    def test_bodies_are_reached_and_what_passes_in_and_out_stays(self) -> None:
        model = parsed(
            """g (bool b, float[3] x) => (float[3] y) {
                u = Exp(x)
                v = If (b) <then_branch = t () => (float[3] p) { m = Neg(u) p = Tanh(m) },
                            else_branch = e () => (float[3] q) { q = Mul(u, u) }>
                y = Neg(v)
            }"""
        )
        after = P.to_float16(model)
        assert [line.split(" = ")[1].split("(")[0] for line in lines(after)] == [
            "Cast[to=10]", "Exp", "If", "Neg", "Tanh", "Cast[to=1]", "Mul", "Cast[to=1]", "Cast[to=10]", "Neg",
            "Cast[to=1]",
        ]  # fmt: skip
        near(model, after)

    def test_functions_are_put_in_their_place(self) -> None:
        functions = '<domain: "my", opset_import: ["" : 17]> f (a) => (c) { d = Exp(a) c = Neg(d) }'
        model = parsed("g (float[3] x) => (float[3] y) { y = my.f(x) }", imports=', "my" : 1', functions=functions)
        after = P.to_float16(model)
        assert [node.op_type for node in after.nodes] == ["Cast", "Exp", "Neg", "Cast"]
        near(model, after)

    def test_other_dtypes_sequences_and_quantization_stay(self) -> None:
        model = parsed(
            """g (float[3] x, int64[3] i) => (float[3] y, int64[3] j, seq(float[3]) s)
            <float k = {0.1}, uint8 z = {3}> {
                q = QuantizeLinear(x, k, z) d = DequantizeLinear(q, k, z) y = Neg(d)
                j = Add(i, i) s = SequenceConstruct(x, x)
            }"""
        )
        after = P.to_float16(model)
        assert [line.split(" = ")[1] for line in lines(after)] == [
            "QuantizeLinear(x, k, z)", "DequantizeLinear(q, k, z)", "Cast[to=10](d)", "Neg(Cast_0)", "Cast[to=1](y_1)",
            "Add(i, i)", "SequenceConstruct(x, x)",
        ]  # fmt: skip

    def test_a_model_without_float32_is_the_same_object(self) -> None:
        model = parsed("g (int64[3] x) => (int64[3] y) { y = Add(x, x) }")
        assert P.to_float16(model) is model

    def test_an_input_that_is_an_output_and_a_constant_output(self) -> None:
        x = gd.input("x", gd.float32[3])
        model = gd.build({"same": x, "k": gd.constant([1.0, 2.0], "k0"), "y": x * 2})
        after = P.to_float16(model, keep_io=False)
        onnx.checker.check_model(after.to_proto(), full_check=True)
        found = on_runtime(after.to_proto(), [np.float16([1, 2, 3])])
        assert [(a.dtype.name, a.tolist()) for a in found] == [
            ("float16", [1, 2, 3]), ("float16", [1, 2]), ("float16", [2, 4, 6]),
        ]  # fmt: skip


def near(before: gd.Model, after: gd.Model) -> None:
    onnx.checker.check_model(after.to_proto(), full_check=True)
    feeds = feeds_for(before)
    for one, other in zip(on_runtime(before.to_proto(), feeds), on_runtime(after.to_proto(), feeds), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(other, one, rtol=0.01, atol=0.01)


class TestDimensions:
    TEXT = "g (float[n,3] x, float[n,m] z) => (float[n,k] y) { a = Concat<axis=1>(x, z) y = Relu(a) }"

    def test_names_become_sizes(self) -> None:
        after = P.fix_dimensions(parsed(self.TEXT), {"n": 4})
        graph = after.to_proto().graph
        assert [dims(info) for info in graph.input] == [[4, 3], [4, "m"]]
        assert [dims(info) for info in graph.output] == [[4, "m + 3"]]
        both = P.fix_dimensions(parsed(self.TEXT), {"n": 4, "m": 2})
        assert both["y"].shape == (4, 5)
        assert dims(both.to_proto().graph.output[0]) == [4, 5]
        feeds = [np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)]
        np.testing.assert_array_equal(both(*feeds), parsed(self.TEXT)(*feeds))

    def test_sizes_become_names(self) -> None:
        model = parsed("g (float[1,3] x) => (float[2,3] y) <float[2,3] v> { v = Concat<axis=0>(x, x) y = Relu(v) }")
        after = P.free_dimensions(model, {"x": {0: "n"}})
        graph = after.to_proto().graph
        assert [dims(info) for info in (*graph.input, *graph.output)] == [["n", 3], ["2*n", 3]]
        assert after(np.ones((4, 3), np.float32)).shape == (8, 3)
        assert P.free_dimensions(model, {"x": {-1: None}})["y"].shape == (2, None)

    def test_what_does_not_fit_is_refused(self) -> None:
        with pytest.raises(gd.BuildError, match="no input has a dimension 'b'; there is 'm', 'n'"):
            P.fix_dimensions(parsed(self.TEXT), {"b": 1})
        with pytest.raises(gd.BuildError, match="'n' is -1, not an int of 0 or more"):
            P.fix_dimensions(parsed(self.TEXT), {"n": -1})
        with pytest.raises(gd.BuildError, match="the model has no input 'w'"):
            P.free_dimensions(parsed(self.TEXT), {"w": {0: "n"}})
        with pytest.raises(gd.BuildError, match=r"'x' is float32\['n', 3\], which has no axis 2"):
            P.free_dimensions(parsed(self.TEXT), {"x": {2: "n"}})
        square = parsed("g (float[n,3] x, float[3,3] w) => (float[n,3] y) { a = MatMul(w, x) y = Relu(a) }")
        with pytest.raises(gd.InferenceError, match="MatMul"):
            P.fix_dimensions(square, {"n": 4})

    def test_a_model_keeps_its_weights_and_descriptions(self) -> None:
        proto = parsed("g (float[n,3] x) => (float[n,3] y) <float[3] w = {1,2,3}> { y = Mul(x, w) }").to_proto()
        proto.graph.input[0].doc_string = "rows"
        after = P.fix_dimensions(proto, {"n": 2}).to_proto()
        assert after.graph.input[0].doc_string == "rows"
        assert after.graph.initializer[0].name == "w"


class TestTypes:
    def test_types_are_written_down(self) -> None:
        model = parsed(
            """g (bool b, float[n,3] x) => (float[m,3] y) {
                u = Concat<axis=0>(x, x)
                y = If (b) <then_branch = t () => (float[k,3] p) { v = Relu(u) p = Neg(v) },
                            else_branch = e () => (float[k,3] q) { q = Neg(u) }>
            }"""
        )
        proto = applied(P.infer_types, model).to_proto()
        assert [(info.name, dims(info)) for info in proto.graph.value_info] == [("u", ["2*n", 3])]
        body = proto.graph.node[1].attribute[0].g
        assert [(info.name, dims(info)) for info in body.value_info] == [("v", ["2*n", 3])]

    def test_what_a_file_knows_besides_is_kept(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y) <float[3] v> { v = my.Op(x) y = Relu(v) }", imports=', "my" : 1')
        assert dims(P.infer_types(model).to_proto().graph.value_info[0]) == [3]

    def test_functions_have_none(self) -> None:
        x = gd.input("x", gd.float32[3])
        proto = P.infer_types(gd.build({"y": gd.marker(x * 2, "m") + 1})).to_proto()
        assert len(proto.graph.value_info) == 2
        assert list(proto.functions[0].value_info) == []


class TestSimplify:
    def test_everything_together(self) -> None:
        x = gd.input("x", gd.float32[2, 3])
        shape = op.Concat(op.Gather(op.Shape(x), [0], axis=0), gd.constant([-1]), axis=0)
        y = op.Transpose(op.Transpose(op.Identity(x.reshape(shape)))) * op.Sqrt(gd.constant(4.0))
        model = gd.build({"y": y + op.Dropout(op.Exp(x)) + op.Exp(op.Cast(x, to=gd.float32))})
        after = applied(P.simplify, model, exact=False)
        assert [node.op_type for node in after.nodes] == ["Mul", "Exp", "Add", "Add"]

    def test_exact_leaves_the_order_of_sums_alone(self) -> None:
        x = gd.input("x", gd.float32["n", 3])
        model = gd.build({"y": x @ np.ones((3, 4), np.float32) + np.ones(4, np.float32)})
        assert [node.op_type for node in P.simplify(model).nodes] == ["Gemm"]
        assert P.simplify(model, exact=True) is model

    def test_what_is_simple_stays_the_same_object(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y) { a = Exp(x) y = Neg(a) }")
        assert P.simplify(model) is model
        once = P.simplify(parsed("g (float[3] x) => (float[3] y) { a = Identity(x) y = Neg(a) }"))
        assert P.simplify(once) is once

    def test_a_constant_may_be_all_that_is_left(self) -> None:
        model = parsed(
            "g (float[2,3] x) => (int64[1] y) { s = Shape(x) i = Constant<value_ints=[1]>() y = Gather(s, i) }"
        )
        after = applied(P.simplify, model)
        assert lines(after) == []

    def test_a_convolution_scales_and_shifts_its_channels(self) -> None:
        x = gd.input("x", gd.float32[1, 2, 5, 5])
        for kind, shape in (("Conv", (4, 2, 3, 3)), ("ConvTranspose", (2, 4, 3, 3))):
            for size in ((4, 1, 1), (1, 4, 1, 1), (1,), ()):
                y = getattr(op, kind)(x, np.ones(shape, np.float32))
                y = np.full(size, 3.0, np.float32) * (y + np.full(size, 0.5, np.float32))
                after = applied(P.simplify, gd.build({"y": y}), exact=False)
                assert [node.op_type for node in after.nodes] == [kind]
            width = 3 if kind == "Conv" else 7
            y = getattr(op, kind)(x, np.ones(shape, np.float32)) + np.ones(width, np.float32)
            assert len(P.simplify(gd.build({"y": y})).nodes) == 2
