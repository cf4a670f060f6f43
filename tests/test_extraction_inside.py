"""Tensors inside branches, loops and functions: cut out by their paths, and led out as outputs."""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from support import sampled
from test_extraction_proofs import FEEDS, program_model
from test_programs import PROGRAMS, Block

import graphdsl as gd
from graphdsl import op
from graphdsl.ir import Graph
from graphdsl.lookup import Tensors

VECTOR = gd.float32[2]
X, Y, Z = np.float32([-1, 2]), np.float32([1, 2]), np.float32([5, 6])


def branching(opset: int = 17) -> gd.Model:
    """`y = abs(flag ? (flag ? a + w : a + w + z) : -a)` for a = relu(x); the inner branch is only for show."""
    with gd.opset(opset):
        x, flag, z = gd.input("x", VECTOR), gd.input("flag", gd.bool[()]), gd.input("z", VECTOR)
        a = op.Relu(x).named("a")

        def then():
            sum = (a + np.float32([1, 2])).named("sum")
            b = op.If(flag, then_branch=lambda: (sum * 2).named("twice"), else_branch=lambda: (sum + z).named("inner"))
            return b.named("b1")

        b = op.If(flag, then_branch=then, else_branch=lambda: -a).named("b")
        return gd.build({"y": op.Abs(b)}, inputs=[x, flag, z], opset=opset)


def looping() -> gd.Model:
    """Three rounds of `s = (s + a) * 2` from a = relu(x)."""
    x = gd.input("x", VECTOR)
    a = op.Relu(x).named("a")
    b = op.Loop(3, None, a, body=lambda i, going, s: (True, ((s + a).named("sum") * 2).named("next")))
    return gd.build({"y": b.named("b") + 0})


@gd.function(domain="my")
def inner(v):
    return (v * v).named("square") + 1


@gd.function(domain="my")
def scaled(v, *, by: float):
    w = (v * by).named("w")
    return op.Relu(inner(w).named("i"))


def calling() -> gd.Model:
    x = gd.input("x", VECTOR)
    return gd.build({"y": scaled(scaled(x, by=2.0).named("once"), by=3.0), "z": x * x})


def loaded(model: gd.Model) -> gd.Model:
    return gd.load(model.to_proto().SerializeToString())


def checked(part: gd.Model) -> gd.Model:
    onnx.checker.check_model(part.to_proto(), full_check=True)
    return part


def names(part: gd.Model) -> list[object]:
    return [tensor.name for tensor in part.inputs]


BOTH = pytest.mark.parametrize("read", [lambda model: model, loaded], ids=["built", "loaded"])


@BOTH
def test_a_branch_becomes_a_model_with_its_captures_as_inputs(read) -> None:
    part = checked(gd.extract(read(branching()), None, [("b", "then_branch", "sum")]))
    assert names(part) == ["a"] and part.output_names == ("sum",)
    np.testing.assert_array_equal(part(X), X + Y)
    path = ("b", "then_branch", "b1", "else_branch", "inner")
    part = checked(gd.extract(read(branching()), None, [path]))
    assert names(part) == ["sum", "z"]
    np.testing.assert_array_equal(part.run({"z": Z, "sum": X})["inner"], X + Z)


@BOTH
def test_the_walk_leads_out_of_a_body_to_what_is_listed(read) -> None:
    model = read(branching())
    part = checked(gd.extract(model, ["x"], [("b", "then_branch", "sum")]))
    assert [node.op_type for node in part.nodes] == ["Relu", "Add"]
    np.testing.assert_array_equal(part(X), np.maximum(X, 0) + Y)
    path = ("b", "then_branch", "b1", "else_branch", "inner")
    part = checked(gd.extract(model, ["z", ("b", "then_branch", "sum")], [path]))
    assert names(part) == ["z", "sum"]
    with pytest.raises(gd.MissingInputs) as caught:
        gd.extract(model, [], [path])
    assert caught.value.missing == ("x", "z")


@BOTH
def test_a_loop_s_body_becomes_a_model_of_one_round(read) -> None:
    part = checked(gd.extract(read(looping()), None, [("b", "body", "next")]))
    assert len(names(part)) == 2 and names(part)[1] == "a"
    np.testing.assert_array_equal(part(X, Z), (X + Z) * 2)


def test_missing_inputs_of_a_body_are_spelled_as_paths() -> None:
    model = loaded(looping())
    with pytest.raises(gd.MissingInputs) as caught:
        gd.extract(model, ["x"], [("b", "body", "next")])
    (state,) = caught.value.missing
    assert state[:2] == ("b", "body")
    assert caught.value.paths[state] == (("b", "body", "next"), ("b", "body", "sum"), state)
    (cut,) = caught.value.suggested
    part = gd.extract(model, cut, [("b", "body", "next")])
    np.testing.assert_array_equal(part(X, Z), (np.maximum(X, 0) + Z) * 2)


def test_outputs_lie_in_one_graph() -> None:
    with pytest.raises(gd.GraphError) as caught:
        gd.extract(branching(), None, ["a", ("b", "then_branch", "sum")])
    assert str(caught.value).splitlines()[0] == (
        "gd.extract: 'a' and ('b', 'then_branch', 'sum') lie in different graphs; the outputs lie in one graph, and "
        "the inputs there or around it"
    )
    with pytest.raises(gd.GraphError, match="lie in different graphs"):
        gd.extract(branching(), [("b", "then_branch", "sum")], ["y"])


@BOTH
def test_a_function_becomes_a_model_for_the_types_and_attributes_of_a_call(read) -> None:
    model = read(calling())
    part = checked(gd.extract(model, None, [("y", "my::scaled", "w")]))
    assert names(part) == ["v"] and part.inputs[0].type == VECTOR and part.functions == ()
    np.testing.assert_array_equal(part(X), X * 3)
    part = checked(gd.extract(model, None, [("once", "scaled", "i")]))
    np.testing.assert_array_equal(part(X), (X * 2) ** 2 + 1)
    assert [function.name for function in part.functions] == ["inner"]
    part = checked(gd.extract(model, ["x"], [("y", "scaled", "i", "inner", "square"), "z"]))
    square, z = part(X)
    np.testing.assert_array_equal(square, (np.maximum((X * 2) ** 2 + 1, 0) * 3) ** 2)
    np.testing.assert_array_equal(z, X * X)


def test_a_function_s_tensor_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(gd.GraphError) as caught:
        gd.extract(calling(), None, [("y", "scaled", "ww")])
    assert "function 'my::scaled' has no tensor 'ww'; did you mean 'w'?" in str(caught.value)
    with pytest.raises(gd.GraphError, match="no body 'other' in the node that makes 'y'"):
        gd.extract(calling(), None, [("y", "other", "w")])


@BOTH
def test_a_tensor_of_a_branch_is_a_list_that_is_empty_where_the_branch_is_not_taken(read) -> None:
    model = read(branching())
    inner = ("b", "then_branch", "b1", "then_branch", "twice")
    tapped = checked(gd.expose(model, ("b", "then_branch", "sum"), inner))
    assert tapped.output_names == ("y", "b/then_branch/sum", "b/then_branch/b1/then_branch/twice")
    for flag in (True, False):
        feeds = {"x": X, "flag": np.array(flag), "z": Z}
        y, sums, products = tapped.run(feeds).values()
        np.testing.assert_array_equal(y, model.run(feeds)["y"])
        assert [array.tolist() for array in sums] == [[1, 4]] * flag
        assert [array.tolist() for array in products] == [[2, 8]] * flag


@BOTH
def test_a_tensor_of_a_loop_is_stacked_over_its_rounds(read) -> None:
    model = read(looping())
    tapped = checked(gd.expose(model, ("b", "body", "sum"), ("b", "body", "i"), "a"))
    y, sums, rounds, a = tapped.run({"x": X}).values()
    np.testing.assert_array_equal(y, model(X))
    state, want = np.maximum(X, 0), []
    for _ in range(3):
        want.append(state + np.maximum(X, 0))
        state = want[-1] * 2
    np.testing.assert_array_equal(sums, want)
    np.testing.assert_array_equal(rounds, [0, 1, 2])
    np.testing.assert_array_equal(a, np.maximum(X, 0))
    found = dict(gd.run_intermediates(model, {"x": X}, [("b", "body", "sum"), "a"]))
    np.testing.assert_array_equal(found["b/body/sum"], want)


def test_a_tensor_of_a_scan_is_stacked_over_its_slices() -> None:
    rows, start = gd.input("rows", gd.float32[3, 2]), gd.input("start", VECTOR)
    last, all = op.Scan(start, rows, body=lambda s, r: ((s + r).named("sum"), (s * r).named("p")), num_scan_inputs=1)
    model = gd.build({"last": last, "all": all})
    tapped = checked(gd.expose(model, ("last", "body", "sum")))
    given = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(tapped.run({"rows": given, "start": X})["last/body/sum"], X + given.cumsum(0))


@BOTH
def test_a_tensor_of_a_function_is_exposed_by_opening_the_call(read) -> None:
    model = read(calling())
    tapped = checked(gd.expose(model, ("y", "scaled", "w")))
    want = model.run({"x": X})
    found = tapped.run({"x": X})
    assert list(found) == ["y", "z", "w"]
    np.testing.assert_array_equal(found["y"], want["y"])
    np.testing.assert_array_equal(found["w"], np.maximum((X * 2) ** 2 + 1, 0) * 3)


def test_what_cannot_be_led_out_says_why() -> None:
    with pytest.raises(gd.GraphError) as caught:
        gd.expose(branching(opset=11), ("b", "then_branch", "sum"))
    assert str(caught.value).splitlines()[0] == (
        "gd.expose: ('b', 'then_branch', 'sum') cannot be led out of its body: branches return sequences since opset "
        "13, the model is of 11"
    )


def paths(model: gd.Model) -> list[tuple[str, ...]]:
    """The paths to all tensors that nodes make in bodies."""
    found = []
    names = Tensors(model).names
    stack: list[tuple[Graph, tuple[str, ...]]] = [(model.graph, ())]
    while stack:
        graph, path = stack.pop()
        for node in graph.nodes:
            if path:
                found += [(*path, names[value]) for value in node.outputs]
            for attribute, body in node.attributes.items():
                if isinstance(body, Graph):
                    stack.append((body, (*path, names[node.outputs[0]], attribute)))
    return found


@pytest.mark.parametrize("read", sampled([False, True]))
@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing a program takes long on a busy machine
@given(program=PROGRAMS, data=st.data())
def test_a_random_tap_leaves_what_the_model_computes(read: bool, program: Block, data: st.DataObject) -> None:
    model = program_model(program, loaded=read)
    inside = paths(model)
    if not inside:
        return
    chosen = data.draw(st.lists(st.sampled_from(inside), min_size=1, max_size=2, unique=True))
    note(str(model))
    try:
        tapped = gd.expose(model, *chosen)
    except gd.GraphError as error:
        assert "sequence" in str(error) or "nothing needs" in str(error)
        return
    onnx.checker.check_model(tapped.to_proto(), full_check=True)
    want, found = model.run(FEEDS), tapped.run(FEEDS)
    assert {name: found[name].tolist() for name in want} == {name: array.tolist() for name, array in want.items()}
    assert list(found)[len(want) :] == ["/".join(path) for path in chosen]


@pytest.mark.parametrize("read", sampled([False, True]))
@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing a program takes long on a busy machine
@given(program=PROGRAMS, data=st.data())
def test_every_body_can_be_cut_out(read: bool, program: Block, data: st.DataObject) -> None:
    model = program_model(program, loaded=read)
    inside = paths(model)
    if not inside:
        return
    path = data.draw(st.sampled_from(inside))
    note(str(model))
    part = gd.extract(model, None, [path])
    onnx.checker.check_model(part.to_proto(), full_check=True)
    feeds = {str(t.name): np.ones([d or 1 for d in t.shape or ()], t.dtype.numpy) for t in part.inputs}
    (value,) = part.run(feeds).values()
    assert value.dtype == part.outputs[0].dtype.numpy


def test_a_body_that_hands_an_input_on_keeps_an_identity_in_between() -> None:
    """Without it ONNX Runtime's Scan returns what lies in memory (docs/upstream.md)."""
    a = gd.input("a", gd.int64[3])
    _, rows = op.Scan(a * 2, body=lambda *taken: (a, taken[0]), num_scan_inputs=1)
    part = gd.extract(gd.build({"y": rows}), ["a"], ["y"])
    (scan,) = [node for node in part.to_proto().graph.node if node.op_type == "Scan"]
    body = scan.attribute[0].g
    assert {info.name for info in body.output} & {info.name for info in body.input} == set()
    assert part(np.array([1, -2, 3])).tolist() == [2, -4, 6]


def test_a_tensor_of_a_body_is_one_by_its_name_alone_and_as_a_tensor() -> None:
    x, flag = gd.input("x", gd.float32[2]), gd.input("flag", gd.bool[()])
    k = op.Abs(x).named("k")
    inner = op.If(flag, then_branch=lambda: op.Relu(op.Neg(k).named("u")).named("t"), else_branch=lambda: k)
    built = gd.build({"y": inner.named("i") + 0})
    for model in (built, gd.load(built.to_proto())):
        path = ("i", "then_branch", "t")
        for wanted in ("t", model[path]):
            part = gd.extract(model, ["u"], [wanted])
            assert [node.op_type for node in part.nodes] == ["Relu"]
            assert gd.extract(model, outputs=[wanted]).to_proto() == gd.extract(model, outputs=[path]).to_proto()
            assert gd.expose(model, wanted).to_proto() == gd.expose(model, path).to_proto()
            with pytest.raises(gd.GraphError, match="lies in a body, which has values only while it runs"):
                gd.split(model, [wanted])
