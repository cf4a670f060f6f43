"""What the benchmarks compare is the same work: every builder makes the model that the others make."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import graphdsl as gd
from benchmarks import chain, changes, rebuild, rules, simplify, timing


def test_graphdsl_and_helper_make_the_same_bytes_of_a_chain() -> None:
    assert chain.graphdsl()(200) == chain.onnx_helper()(200)


@pytest.mark.parametrize("name", chain.available()[0])
def test_the_chain_of_every_builder_that_is_installed_computes_the_same(name: str) -> None:
    model = chain.available()[0][name](20)
    operators = [node.op_type for node in onnx.load_from_string(model).graph.node if node.op_type != "Identity"]
    assert operators == ["Mul", "Add"] * 10
    feeds = {key: np.full((10, 10), value, np.float32) for key, value in (("a", 0.5), ("x", 3.0), ("b", 0.25))}
    expected = feeds["x"]
    for _ in range(10):
        expected = feeds["a"] * expected + feeds["b"]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["out"], feeds)[0], expected)


def renamed(graph: onnx.GraphProto) -> list[tuple[object, ...]]:
    """A graph's nodes with values numbered in order of appearance, and initializers by their contents."""
    contents = {proto.name: onnx.numpy_helper.to_array(proto).tobytes() for proto in graph.initializer}
    numbers: dict[str, object] = {"": None} | contents | {info.name: info.name for info in graph.input}
    rows, count = [], itertools.count()
    for node in graph.node:
        for name in node.output:
            numbers[name] = next(count)
        attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        values = [numbers[name] for name in (*node.input, *node.output)]
        rows.append((node.domain, node.op_type, values, attributes))
    return rows


@pytest.mark.parametrize("path", rebuild.light_models(), ids=lambda path: path.stem)
def test_graphdsl_and_helper_rebuild_the_same_model(path: Path) -> None:
    recipe = rebuild.read(path)
    ours, by_hand = rebuild.with_graphdsl(recipe), rebuild.with_helper(recipe)
    original = onnx.load(path)
    assert renamed(ours.graph) == renamed(by_hand.graph)
    assert [node.op_type for node in by_hand.graph.node] == [node.op_type for node in original.graph.node]
    assert [info.name for info in ours.graph.output] == [info.name for info in original.graph.output]
    onnx.checker.check_model(ours, full_check=True)


@pytest.mark.parametrize("name", rules.available(0)[0])
@pytest.mark.parametrize("every", [1, 3])
def test_every_rewriter_that_is_installed_does_the_same(name: str, every: int) -> None:
    before = rules.model(60, every)
    after = rules.available(46)[0][name](before)
    expected = [node.op_type for node in rules.graphdsl(0)(before).graph.node]
    found = [node.op_type for node in after.graph.node]
    # onnxscript cannot let a rule return its input, so there an Identity stays
    assert [operator for operator in found if operator != "Identity"] == expected
    assert len(before.graph.node) - len(expected) >= len(before.graph.node) // (2 * every)
    feeds = {"x": np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)}
    outputs = [
        onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(["y"], feeds)[0]
        for proto in (before, after)
    ]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-6)


def test_a_table_is_markdown() -> None:
    assert timing.table(("name", "µs"), [("a", 1.5), ("long name", 10)]) == (
        "| name      |  µs |\n"
        "| --------- | --: |\n"
        "| a         | 1.5 |\n"
        "| long name |  10 |"
    )  # fmt: skip


def test_rounds_take_turns_and_stop_when_a_case_has_had_enough() -> None:
    order: list[str] = []
    taken = timing.interleaved({"slow": (lambda: order.append("slow"), 1), "fast": (lambda: order.append("fast"), 3)})
    assert order == ["slow", "fast", "fast", "fast"]
    assert [len(times) for times in taken.values()] == [1, 3]


def test_the_changes_that_are_measured_are_found() -> None:
    work = changes.cases(600)  # which checks each report
    assert list(work)[-1] == "to_source"
    assert str(work["diff: equal"]()) == "no differences"


def test_simplified_models_are_compared_with_their_originals() -> None:
    x = gd.input("x", gd.float32[2, 3])
    proto = gd.build({"y": gd.op.Identity(x) @ np.ones((3, 2), np.float32) + np.ones(2, np.float32)}).to_proto()
    subject = simplify.Subject("small", proto, {"x": np.ones((2, 3), np.float32)})
    wrong = gd.build({"y": x @ np.ones((3, 2), np.float32)}).to_proto()
    tools: dict[str, simplify.Tool] = {name: tool for name, tool in simplify.tools().items() if "graphdsl" in name}
    tools |= {"wrong": lambda given: wrong, "failing": lambda given: onnx.load("nowhere")}
    name, nodes, *cells = simplify.row(subject, tools, 1)
    assert (name, nodes) == ("small", "3")
    assert [cell.split(" · ")[0] for cell in cells] == ["1", "2", "1", "fails: FileNotFoundError"]
    assert [cell.split(" · ")[-1] for cell in cells[:3]] == ["same", "same", "2e-01"]
