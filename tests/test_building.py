"""Models from expressions: names, inputs, outputs, opsets, and what is refused."""

import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op

ONES = np.ones(2, np.float32)


def vector(name: str = "x") -> gd.Tensor:
    return gd.input(name, gd.float32[2])


def emitted(model: gd.Model) -> list[tuple[str, list[str], list[str]]]:
    """The nodes as ONNX has them; the model must be valid."""
    proto = model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    return [(node.op_type, list(node.input), list(node.output)) for node in proto.graph.node]


def line_of(function: Callable[..., Any], text: str) -> str:
    """`test_building.py:NN` of the first line of a function that holds a text."""
    lines, start = inspect.getsourcelines(function)
    return f"test_building.py:{start + next(i for i, line in enumerate(lines) if text in line)}"


def test_an_expression_is_a_model() -> None:
    @gd.model
    def linear_func(a: gd.float32[10, 10], x: gd.float32[10, 10], b: gd.float32[10, 10]):
        return {"out": a * x + b}

    assert emitted(linear_func) == [("Mul", ["a", "x"], ["Mul_0"]), ("Add", ["Mul_0", "b"], ["out"])]
    assert linear_func.name == "linear_func"
    assert [tensor.name for tensor in linear_func.inputs] == ["a", "x", "b"]
    a, x, b = (np.full((10, 10), value, np.float32) for value in (2, 3, 4))
    np.testing.assert_array_equal(linear_func(a, x, b), a * x + b)


def test_a_result_can_be_named_by_its_key_by_itself_or_by_default() -> None:
    x = vector()
    c = (x + 1).named("c")
    assert gd.build({"out": x * 2}).output_names == ("out",)
    assert gd.build(c).output_names == ("c",)
    assert gd.build(x * 2).output_names == ("output",)
    assert gd.build([x * 2, c, x * 3]).output_names == ("output_0", "c", "output_2")


def test_an_output_that_is_named_otherwise_is_copied_by_identity() -> None:
    x = vector()
    c = (x + 1).named("c")
    assert emitted(gd.build({"out": c})) == [("Add", ["x", "const_0"], ["c"]), ("Identity", ["c"], ["out"])]
    assert emitted(gd.build({"a": x, "b": x})) == [("Identity", ["x"], ["a"]), ("Identity", ["x"], ["b"])]
    twice = x * 2
    assert emitted(gd.build({"a": twice, "b": twice}))[1:] == [("Identity", ["a"], ["b"])]


def test_an_input_can_be_returned_under_its_own_name() -> None:
    x = vector()
    model = gd.build({"x": x})
    assert emitted(model) == []
    np.testing.assert_array_equal(model(ONES), ONES)


def test_a_constant_can_be_an_output() -> None:
    model = gd.build({"k": np.float32([1, 2])}, inputs=[vector()])
    np.testing.assert_array_equal(model(ONES), np.float32([1, 2]))
    w = gd.constant([1.0, 2.0], name="w")
    assert gd.build(w).output_names == ("w",)
    assert emitted(gd.build({"k": w})) == [("Identity", ["w"], ["k"])]


def test_names_are_made_unique_and_outputs_keep_theirs() -> None:
    x = vector()
    one, two = (x + 1).named("h"), (x + 2).named("h")
    assert emitted(gd.build({"y": one * two})) == [
        ("Add", ["x", "const_0"], ["h"]),
        ("Add", ["x", "const_1"], ["h_1"]),
        ("Mul", ["h", "h_1"], ["y"]),
    ]
    inner = (x + 3).named("Add_0")
    names = [name for _, _, outputs in emitted(gd.build({"y": (x + x) * inner})) for name in outputs]
    assert len(set(names)) == 3 and names[-1] == "y"


def test_equal_constants_are_emitted_once() -> None:
    x = vector()
    row = [1.5, 2.5]
    array = np.float32(row)
    model = gd.build({"y": (x + row) * row - array + 0.5 - 0.5})
    assert [i.name for i in model.to_proto().graph.initializer] == ["const_0", "const_1"]
    signs = gd.build({"y": (x + 0.0) * -0.0})
    assert [onnx.numpy_helper.to_array(i).item() for i in signs.to_proto().graph.initializer] == [0.0, -0.0]
    assert len(signs.to_proto().graph.initializer) == 2


def test_emission_is_deterministic() -> None:
    def program() -> bytes:
        x = vector()
        return gd.build({"y": op.Relu(x * 2 + [1, 2]) @ np.eye(2, dtype=np.float32)}).to_proto().SerializeToString()

    assert program() == program()


def test_inputs_default_to_those_needed_in_the_order_they_were_made() -> None:
    first, second, unused = vector("first"), vector("second"), vector("unused")
    assert [t.name for t in gd.build(second - first).inputs] == ["first", "second"]
    model = gd.build(second - first, inputs=[unused, second, first])
    assert [t.name for t in model.inputs] == ["unused", "second", "first"]


def test_inputs_of_a_function_may_have_names_that_python_has_not() -> None:
    @gd.model(inputs={"image": "input.1"})
    def renamed(image: gd.float32[2], lambda_: gd.float32[2]):
        return image + lambda_

    assert [tensor.name for tensor in renamed.inputs] == ["input.1", "lambda_"]
    assert renamed.run({"input.1": [1, 2], "lambda_": [3, 4]})["output"].tolist() == [4, 6]
    with pytest.raises(gd.BuildError, match=r"inputs=\{'picture': 'x'\} names no input; its inputs are 'image'"):

        @gd.model(inputs={"picture": "x"})
        def wrong(image: gd.float32[2]):
            return image


def test_an_input_that_is_needed_must_be_listed() -> None:
    a, b = vector("a"), vector("b")
    with pytest.raises(gd.BuildError) as caught:
        gd.build({"y": a * 2 + b}, inputs=[a])
    text = str(caught.value)
    assert "the outputs need inputs that are not listed: 'b'" in text
    assert "'b' (float32[2]) is used by Add" in text
    assert line_of(test_an_input_that_is_needed_must_be_listed, "a * 2 + b") in text
    assert "add them to inputs=[...]" in text


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda: gd.build(vector("a") + vector("a")), "input 'a': two inputs have this name"),
        (lambda: (lambda a: gd.build(a, inputs=[a, a]))(vector()), "the same input is listed twice"),
        (lambda: gd.build(vector(), inputs=[vector() + 1]), "inputs are tensors made by gd.input, got <Tensor"),
        (lambda: gd.build({}), "gd.build has no outputs"),
        (lambda: gd.build([]), "gd.build has no outputs"),
        (lambda: gd.build("x"), "a tensor is needed, got 'x' (str)"),
        (lambda: gd.build(None), "got nothing (is a return missing?)"),
        (lambda: gd.build({1: vector()}), "an output's name is a non-empty str, not 1"),
        (lambda: gd.build({"x": vector() + 1}), "the output name 'x' is the name of an input"),
        (lambda: gd.build((vector() + 1).named("x")), "the output name 'x' is the name of an input"),
        (
            lambda: (lambda a: gd.build([(a + 1).named("z"), (a + 2).named("z")]))(vector()),
            "gd.build: two outputs are named 'z'; return a dict, whose keys are the names",
        ),
        (lambda: gd.input("", gd.float32), "an input's name is a non-empty str, not ''"),
        (lambda: gd.input("x", "float32[2]"), "'float32[2]' is not a type"),
        (lambda: gd.constant(vector()), "a tensor is no constant"),
        (lambda: gd.model(3), "gd.model takes a function, got 3"),
        (lambda: gd.build(vector() + 1, name=3), "gd.build: a model's name is a str, not 3"),
    ],
)
def test_what_makes_no_model_is_refused(program: Callable[[], Any], message: str) -> None:
    with pytest.raises(gd.GraphError) as caught:
        program()
    assert message in str(caught.value)


def test_an_output_of_unknown_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    y = op.Relu(vector())
    monkeypatch.setattr(y._v, "type", None)
    with pytest.raises(gd.BuildError) as caught:
        gd.build({"y": y})
    assert "the type of 'y' (made by Relu) is not known" in str(caught.value)
    assert line_of(test_an_output_of_unknown_type_is_refused, "op.Relu") in str(caught.value)


def test_an_output_of_unknown_rank_is_allowed() -> None:
    assert gd.build({"y": op.Relu(gd.input("x", gd.float32))}).outputs[0].shape is None


def test_a_name_is_given_once_and_sealed_by_a_model() -> None:
    x = vector()
    y = x * 2
    y.named("y").named("y")
    with pytest.raises(gd.NameConflict, match="this tensor is named 'y' already, so it cannot be named 'z'"):
        y.named("z")
    held = x * 3
    gd.build(held)
    with pytest.raises(gd.NameConflict, match=r"a model holds this tensor already.*write gd\.rename"):
        held.named("late")


class TestParameters:
    def test_unannotated_parameters_are_python_values(self) -> None:
        @gd.model(name="powers")
        def powers(x: gd.float32[2], times=3):
            for _ in range(times):
                x = x * x
            return x

        assert [node.op_type for node in powers.nodes] == ["Mul"] * 3
        assert powers.name == "powers"

    def test_python_values_without_a_default_make_a_function_that_gives_models(self) -> None:
        @gd.model
        def scaled(x: gd.float32[2], factor, *, bias=0.0):
            return x * factor + bias

        np.testing.assert_array_equal(scaled(3)(ONES), 3 * ONES)
        np.testing.assert_array_equal(scaled(factor=2, bias=1.0)(ONES), 3 * ONES)
        with pytest.raises(TypeError, match="factor"):
            scaled()

    def test_a_default_array_makes_an_input_that_may_be_left_out(self) -> None:
        step = np.float32([1, 2])

        @gd.model
        def shifted(x: gd.float32[2], by: gd.float32[2] = step):
            return x + by

        np.testing.assert_array_equal(shifted(ONES), [2, 3])
        np.testing.assert_array_equal(shifted(ONES, by=[5, 5]), [6, 6])
        assert [i.name for i in shifted.to_proto().graph.initializer] == ["by"]

    @pytest.mark.parametrize(
        ("default", "message"),
        [
            ([1, 2, 3], "and its default is float32[3]"),
            (
                np.ones((3, 1), np.float32),
                "and its default is float32[3, 1]",
            ),
            (np.ones((2, 3)), "and its default is float64[2, 3]"),
            ("a", "and its default cannot be: 'a' does not fit float32"),
            ([[1], [1, 2]], "and its default cannot be: "),
        ],
    )
    def test_a_default_is_of_the_type_of_its_input(self, default: Any, message: str) -> None:
        def f(x: gd.float32[2, 1], w: gd.float32[2, "n"] = default):
            return x + w

        with pytest.raises(gd.BuildError) as caught:
            gd.model(f)
        assert str(caught.value).startswith(f"model 'f': the input 'w' is float32[2, 'n'], {message}")
        assert "test_building.py" in str(caught.value)

    def test_only_tensors_have_a_default(self) -> None:
        def f(x: gd.sequence(gd.float32[2]) = ((1, 2),)):  # type: ignore[valid-type]
            return op.SequenceAt(x, 0)

        with pytest.raises(gd.BuildError, match="and only tensors have a default"):
            gd.model(f)

    def test_an_annotation_that_python_cannot_read_is_refused(self) -> None:
        def local(x: "gd.float32[absent]"):  # type: ignore[name-defined]
            return x

        with pytest.raises(gd.BuildError, match="an annotation cannot be read: name 'absent' is not defined") as caught:
            gd.model(local)
        assert "test_building.py" in str(caught.value)

    def test_star_parameters_cannot_be_inputs(self) -> None:
        with pytest.raises(gd.BuildError, match=r"\*xs cannot be inputs; name each one"):

            @gd.model
            def many(*xs: gd.float32[2]):
                return xs[0]

    def test_tensors_from_outside_are_refused(self) -> None:
        x = vector()
        with pytest.raises(gd.ScopeError) as caught:

            @gd.model
            def greedy(y: gd.float32[2]):
                return y + x

        assert "the tensor 'x' made in the program cannot be used in model 'greedy'; pass it in" in str(caught.value)
        assert "made at tests/test_building.py" in str(caught.value)


class TestOpsets:
    def test_the_opset_in_force_is_taken_when_every_node_fits_it(self) -> None:
        assert gd.build(vector() * 2).opset == 21
        with gd.opset(15):
            assert gd.build(vector() * 2).opset == 15

    def test_a_model_is_traced_at_its_opset(self) -> None:
        @gd.model(opset=11)
        def squeezed(x: gd.float32[1, 2]):
            return op.Squeeze(x, axes=[0])

        assert squeezed.opset == 11
        assert squeezed.nodes[0].attributes == {"axes": (0,)}

    def test_else_the_highest_that_all_nodes_share(self) -> None:
        x = vector()
        assert gd.build(gd.opset(7).Add(x, x)).opset == 12
        assert gd.build(gd.opset(7).Add(x, x), opset=9).opset == 9

    def test_nodes_that_share_none_are_named_with_their_lines(self) -> None:
        x = vector()
        wide = gd.opset(13).Unsqueeze(x, [0])
        narrow = gd.opset(12).Squeeze(wide, axes=[0])
        with pytest.raises(gd.OpsetError) as caught:
            gd.build(narrow)
        here = test = TestOpsets.test_nodes_that_share_none_are_named_with_their_lines
        assert "two operators share no opset" in str(caught.value)
        assert "Unsqueeze as written here is of opset 13 to 20" in str(caught.value)
        assert line_of(here, "wide =") in str(caught.value) and line_of(test, "narrow =") in str(caught.value)

    def test_an_opset_that_does_not_fit_is_refused(self) -> None:
        with pytest.raises(gd.OpsetError, match=r"does not mean the same at opset 13\n  Relu as written here is of"):
            gd.build(op.Relu(vector()), opset=13)
        with pytest.raises(gd.OpsetError, match="opset 99 is not known"):
            gd.build(vector() * 2, opset=99)

    def test_the_opset_in_force_is_local_to_a_thread(self) -> None:
        seen: dict[str, int] = {}
        inside, done = threading.Event(), threading.Event()

        def other() -> None:
            inside.wait()
            seen["other"] = gd.build(vector() * 2).opset
            done.set()

        thread = threading.Thread(target=other)
        thread.start()
        with gd.opset(13):
            inside.set()
            done.wait()
            seen["this"] = gd.build(vector() * 2).opset
        thread.join()
        assert seen == {"other": 21, "this": 13}

    def test_the_ir_version_is_the_least_that_fits(self) -> None:
        x = vector()
        versions = {n: gd.build(gd.opset(n).Add(x, x), opset=n).ir_version for n in (9, 13, 15, 17, 19, 21, 23)}
        assert versions == {9: 4, 13: 7, 15: 8, 17: 8, 19: 9, 21: 10, 23: 11}


def test_models_compose_by_inlining() -> None:
    @gd.model
    def inner(x: gd.float32["n"], flag: gd.bool[()]):
        h = (x * 2).named("h")
        return op.If(flag, then_branch=lambda: h + 1, else_branch=lambda: h - 1)

    @gd.model
    def outer(y: gd.float32["m"]):
        return inner(inner(y, True), flag=np.array(False))

    np.testing.assert_array_equal(outer(ONES), [5, 5])
    assert outer.outputs[0].shape == ("m",)
    assert [n.op_type for n in outer.nodes] == ["Mul", "If", "Mul", "If"]
    extended = gd.build({"more": inner["h"] + 1})
    np.testing.assert_array_equal(extended(ONES), [3, 3])


def test_a_model_is_inlined_only_where_it_means_the_same() -> None:
    old = gd.build(gd.opset(12).Squeeze(gd.input("x", gd.float32[1, 2]), axes=[0]), opset=12)
    with pytest.raises(gd.OpsetError, match=r"Squeeze means something else; write gd\.convert_opset\(model, 21\)"):
        old(gd.input("y", gd.float32[1, 2]))
    with gd.opset(12):
        assert old(gd.input("y", gd.float32[1, 2])).shape == (2,)
    with pytest.raises(gd.GraphError, match="'x'"), gd.opset(12):
        old(gd.input("y", gd.int64[1, 2]))


def test_a_chain_of_a_hundred_thousand_nodes_needs_no_recursion() -> None:
    x = vector()
    h = x
    for _ in range(50_000):
        h = h * 0.5 + 1.0
    model = gd.build({"y": h})
    assert len(model.nodes) == 100_000
    assert len(model.to_proto().graph.node) == 100_000
