"""Random programs and real models, cut at random: right by the whole's values, or missing just what they say."""

import importlib.util
import random
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from support import sampled
from test_programs import PROGRAMS, Block, Traced, execute

import graphdsl as gd
from benchmarks.cuts import session, tapped

LIGHT = sorted((Path(onnx.__file__ or "").parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
FEEDS = {"a": np.array([1, -2, 3]), "b": np.array([4, 0, -5])}


def program_model(program: Block, *, loaded: bool) -> gd.Model:
    """The model of a random program, fresh or read from its bytes."""
    inputs = [gd.input(name, gd.int64[3]) for name in "ab"]
    returned = execute(program, inputs, Traced())
    model = gd.build({f"y{i}": tensor for i, tensor in enumerate(returned)}, inputs=inputs)
    return gd.load(model.to_proto().SerializeToString()) if loaded else model


def needed(graph: onnx.GraphProto, inputs: list[str], outputs: list[str]) -> set[str]:
    """The inputs of a graph that outputs need beside those given, read from the proto by nothing but names."""
    makers = {name: node for node in graph.node for name in node.output}
    found: set[str] = set()
    waiting, seen = list(outputs), set(inputs)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in makers:
            waiting += used(makers[name])
        elif name in {info.name for info in graph.input}:
            found.add(name)
    return found


def used(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node and its bodies mention; those made inside are not made outside."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                yield from used(inner)
            yield from (info.name for info in attribute.g.output)


def quietly(model: gd.Model, inputs: object, outputs: object) -> gd.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gd.extract(model, inputs, outputs)


def values_of(model: onnx.ModelProto, names: list[str], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values of tensors of a model, by nothing but onnx and ONNX Runtime."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    present = {info.name for info in (*whole.graph.output, *whole.graph.input)}
    whole.graph.output.extend([onnx.ValueInfoProto(name=name) for name in names if name not in present])
    made = [name for name in dict.fromkeys(names) if name not in feeds]
    found = session(whole).run(made, feeds) if made else []
    return feeds | dict(zip(made, found, strict=True))


def assert_part_is_right(part: gd.Model, values: dict[str, np.ndarray], outputs: list[str]) -> None:
    proto = part.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    names = [info.name for info in proto.graph.output]
    weights = {tensor.name for tensor in proto.graph.initializer}
    found = session(proto).run(names, {i.name: values[i.name] for i in proto.graph.input if i.name not in weights})
    for name, array in zip(outputs, found, strict=True):
        assert array.dtype == values[name].dtype and array.tobytes() == values[name].tobytes(), name


@pytest.mark.parametrize("loaded", sampled([False, True]))
@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing a program takes long on a busy machine
@given(program=PROGRAMS, data=st.data())
def test_a_random_cut_is_right_or_misses_what_it_names(loaded: bool, program: Block, data: st.DataObject) -> None:
    model = program_model(program, loaded=loaded)
    proto = model.to_proto()
    made = [name for node in proto.graph.node for name in node.output]
    outputs = data.draw(st.lists(st.sampled_from(made or ["a"]), min_size=1, max_size=3), "outputs")
    inputs = data.draw(st.lists(st.sampled_from(["a", "b", *made]), unique=True, max_size=4), "inputs")
    note(str(model))
    values = values_of(proto, ["a", "b", *made], FEEDS)
    missing = needed(proto.graph, inputs, outputs)
    try:
        part = quietly(model, inputs, outputs)
        assert not missing
        assert [tensor.name for tensor in part.inputs] == inputs
        assert_part_is_right(part, values, outputs)
    except gd.MissingInputs as error:
        assert set(error.missing) == missing
        assert {name: path[-1] for name, path in error.paths.items()} == {name: name for name in missing}
        assert all(path[0] in outputs for path in error.paths.values())
        assert error.suggested
        for cut in error.suggested:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # nothing that is suggested is needless
                assert_part_is_right(gd.extract(model, cut, outputs), values, outputs)


@pytest.mark.parametrize("loaded", sampled([False, True]))
@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing a program takes long on a busy machine
@given(program=PROGRAMS, data=st.data())
def test_a_random_chain_computes_what_the_model_does(loaded: bool, program: Block, data: st.DataObject) -> None:
    model = program_model(program, loaded=loaded)
    whole = quietly(model, ["a", "b"], None)
    made = [
        str(t)
        for t in whole._tensors.names.values()
        if t in {n for node in whole.to_proto().graph.node for n in node.output}
    ]
    cuts = data.draw(st.lists(st.sampled_from(made), unique=True, max_size=4), "cuts") if made else []
    try:
        parts = gd.split(model, cuts)
    except gd.GraphError as error:
        assert "nothing lies between" in str(error)
        return
    values = FEEDS
    for part in parts:
        onnx.checker.check_model(part.to_proto(), full_check=True)
        values = part.run(values, options=PLAINLY)
    want = model.run(FEEDS, options=PLAINLY)
    assert {name: array.tolist() for name, array in values.items()} == {n: array.tolist() for n, array in want.items()}
    assert sum(len(part.nodes) for part in parts) == len(whole.nodes)
    tensors = [gd.input(name, gd.int64[3]) for name in "ab"]
    joined: object = tensors
    for part in parts:
        joined = part(*joined) if isinstance(joined, (list, tuple)) else part(joined)
    again = gd.build(joined, inputs=tensors)
    assert [array.tolist() for array in again.run(FEEDS, options=PLAINLY).values()] == [
        array.tolist() for array in want.values()
    ]


CUTS = [
    pytest.param(path, seed, id=f"{path.stem}-{seed}", marks=[pytest.mark.full] * (seed > 0 or "vgg" in path.stem))
    for path in LIGHT
    for seed in range(12)
]


@pytest.mark.parametrize(("path", "seed"), CUTS)
def test_cuts_of_real_architectures_give_the_whole_model_s_values(path: Path, seed: int) -> None:
    draw = random.Random(f"{path.stem}{seed}")
    proto, model = _read(path)
    made = [name for node in proto.graph.node if node.op_type != "ConstantOfShape" for name in node.output[:1]]
    last = draw.randrange(len(made) // 2, len(made))
    outputs = [made[last], made[draw.randrange(last)]]
    first = made[draw.randrange(last)]
    try:
        part = quietly(model, [first], outputs)
    except gd.MissingInputs as error:
        part = gd.extract(model, draw.choice(error.suggested), outputs)
    weights = {tensor.name for tensor in proto.graph.initializer}
    names = [str(tensor.name) for tensor in part.inputs if tensor.name not in weights]
    assert_part_is_right(part, dict(zip([*names, *outputs], tapped(proto, [*names, *outputs]), strict=True)), outputs)


PLAINLY = {"intra_op_num_threads": 1, "graph_optimization_level": "ORT_DISABLE_ALL"}
"""Each node by itself: what structural changes are judged by."""

NETWORKS = {"cls": (1, 3, 48, 192), "det": (1, 3, 64, 64), "rec": (1, 3, 48, 160)}
"""The models of rapidocr-onnxruntime by a part of their names, with the shape of an image for each."""


@pytest.mark.parametrize("name", ["cls", *[pytest.param(name, marks=pytest.mark.full) for name in ("det", "rec")]])
def test_cuts_taps_and_chains_of_real_networks_give_the_whole_model_s_values(name: str) -> None:
    package = importlib.util.find_spec("rapidocr_onnxruntime")
    if package is None:
        pytest.skip("rapidocr-onnxruntime is not installed")
    (path,) = Path(package.origin or "").parent.glob(f"models/*{name}*.onnx")
    proto, model = _read(path)
    feeds = {proto.graph.input[0].name: np.random.default_rng(0).standard_normal(NETWORKS[name]).astype(np.float32)}
    made = [value for node in proto.graph.node if node.op_type != "Constant" for value in node.output]
    (output,) = [info.name for info in proto.graph.output]
    whole = values_of(proto, [*made, output], feeds)
    draw = random.Random(name)
    for _ in range(4):
        last = draw.randrange(len(made) // 3, len(made))
        outputs = [made[last], made[draw.randrange(last)]]
        try:
            parts = [quietly(model, [made[draw.randrange(last)]], outputs)]
        except gd.MissingInputs as error:
            parts = [gd.extract(model, cut, outputs) for cut in error.suggested]
        for part in parts:
            names = list(part.output_names)
            found = session(part.to_proto()).run(names, {str(t.name): whole[str(t.name)] for t in part.inputs})
            assert [array.tobytes() for array in found] == [whole[value].tobytes() for value in outputs]
    values = dict(gd.run_intermediates(model, feeds, memory=1 << 23, options=PLAINLY))
    assert all(values[value].tobytes() == whole[value].tobytes() for value in made)
    chained = feeds
    for part in gd.split(model, [made[len(made) // 3], made[2 * len(made) // 3]]):
        chained = part.run(chained, options=PLAINLY)
    assert chained[output].tobytes() == whole[output].tobytes()


@cache
def _read(path: Path) -> tuple[onnx.ModelProto, gd.Model]:
    return onnx.load(path), gd.load(path)
