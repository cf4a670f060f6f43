"""Rebuild real models node by node, with graphdsl and with onnx.helper.

    python -m benchmarks.rebuild                # the nine `light` models that the onnx package carries
    python -m benchmarks.rebuild a.onnx b.onnx  # others

Real models repeat fewer types than a chain does, so inference is asked more often. A model is built in a new process
each time, where nothing is remembered yet (cold), then again in the same one (warm). Reading the file is not counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

import graphdsl as gd
from benchmarks.timing import machine, seconds, table

PRODUCER = "graphdsl"


class Call(NamedTuple):
    """One node to build: plain names and values, as a program would write them."""

    op_type: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class Recipe(NamedTuple):
    """What a model is built from."""

    name: str
    opset: int
    inputs: dict[str, onnx.TypeProto]
    constants: dict[str, np.ndarray]
    calls: list[Call]
    outputs: dict[str, onnx.TypeProto]


def read(path: Path) -> Recipe:
    """The recipe of a model without functions, bodies and initializers that a caller may replace."""
    graph = (model := onnx.load(path)).graph
    constants = {proto.name: numpy_helper.to_array(proto) for proto in graph.initializer}
    return Recipe(
        graph.name,
        next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        {info.name: info.type for info in graph.input if info.name not in constants},
        constants,
        [
            Call(
                node.op_type,
                node.domain,
                list(node.input),
                list(node.output),
                {attribute.name: plain(attribute) for attribute in node.attribute},
            )
            for node in graph.node
        ],
        {info.name: info.type for info in graph.output},
    )


def plain(attribute: onnx.AttributeProto) -> Any:
    """The value of an attribute as a program would write it: a tensor as an array."""
    value = helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def with_graphdsl(recipe: Recipe) -> onnx.ModelProto:
    """The model from calls of `gd.opset(n).X`; the types of all tensors come from inference."""
    op = gd.opset(recipe.opset)
    tensors: dict[str, Any] = {"": None}
    for name, of in recipe.inputs.items():
        tensors[name] = gd.input(name, of)
    inputs = [tensors[name] for name in recipe.inputs]
    for name, array in recipe.constants.items():
        tensors[name] = gd.constant(array, name)
    for call in recipe.calls:
        operators = gd.domain(call.domain, 1) if call.domain else op
        given = [tensors[name] for name in call.inputs]
        made = getattr(operators, call.op_type)(*given, outputs=len(call.outputs), **call.attributes)
        if len(call.outputs) == 1:
            tensors[call.outputs[0]] = made
        else:
            tensors.update(zip(call.outputs, made, strict=True))
    outputs = {name: tensors[name] for name in recipe.outputs}
    return gd.build(outputs, inputs, name=recipe.name, opset=recipe.opset).to_proto()


def with_helper(recipe: Recipe) -> onnx.ModelProto:
    """The same model from onnx.helper, which infers nothing and is told the names and the outputs' types."""
    nodes = []
    for call in recipe.calls:
        attributes = {
            name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            for name, value in call.attributes.items()
        }
        nodes.append(helper.make_node(call.op_type, call.inputs, call.outputs, domain=call.domain, **attributes))
    graph = helper.make_graph(
        nodes,
        recipe.name,
        [helper.make_value_info(name, of) for name, of in recipe.inputs.items()],
        [helper.make_value_info(name, of) for name, of in recipe.outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in recipe.constants.items()],
    )
    imports = [helper.make_opsetid("", recipe.opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=4, producer_name=PRODUCER)


BUILDERS = {"onnx.helper": with_helper, "graphdsl": with_graphdsl}


def measure(path: Path, warm: int) -> dict[str, list[float]]:
    """Microseconds a node for each builder, the cold build first; for a process of its own."""
    recipe = read(path)
    nodes = len(recipe.calls)
    taken: dict[str, list[float]] = {name: [] for name in BUILDERS}
    for _ in range(1 + warm):
        for name, build in BUILDERS.items():
            taken[name].append(seconds(lambda build=build: build(recipe).SerializeToString()) / nodes * 1e6)
    return taken


def light_models() -> list[Path]:
    """The architectures that the onnx package carries, their weights replaced by ConstantOfShape nodes."""
    assert onnx.__file__ is not None
    return sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def main() -> None:
    """Measure each model in new processes, and print one table."""
    parser = argparse.ArgumentParser(description="Rebuild real models node by node.")
    parser.add_argument("models", type=Path, nargs="*", help="by default the light models of the onnx package")
    parser.add_argument("--processes", type=int, default=5, help="cold builds per model")
    parser.add_argument("--warm", type=int, default=5, help="warm builds per process")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.models[0], options.warm)))
        return
    rows = []
    for path in options.models or light_models():
        command = [sys.executable, "-m", "benchmarks.rebuild", "--measure", "--warm", str(options.warm), str(path)]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for _ in range(options.processes)
        ]
        cold = {name: statistics.median(run[name][0] for run in runs) for name in BUILDERS}
        warm = {name: min(min(run[name][1:]) for run in runs) for name in BUILDERS}
        numbers = [f"{times[name]:.1f}" for times in (cold, warm) for name in BUILDERS]
        ratios = [f"{times['graphdsl'] / times['onnx.helper']:.2f}" for times in (cold, warm)]
        nodes = len(read(path).calls)
        rows.append((path.stem, nodes, numbers[0], numbers[1], ratios[0], numbers[2], numbers[3], ratios[1]))
    print(f"{machine()}\nµs/node; cold: median of {options.processes} processes; warm: the least of all later builds\n")
    print(
        table(
            ("model", "nodes", "helper cold", "graphdsl cold", "ratio", "helper warm", "graphdsl warm", "ratio"), rows
        )
    )


if __name__ == "__main__":
    main()
