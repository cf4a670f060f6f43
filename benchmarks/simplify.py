"""What simplifiers leave of real models: `python -m benchmarks.simplify`.

Each takes the same proto in one run: how many nodes are left, how long it takes (the least of a few runs, of the clock
on the wall, since some work in several threads or processes), and how far the outputs are from those of the original,
both run on ONNX Runtime, unoptimised and in one thread: "same" if no bit differs, else the largest difference relative
to the largest output.
"""

import argparse
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import onnx

import graphdsl as gd

from .timing import table


class Subject(NamedTuple):
    """A model, and what it is run on."""

    name: str
    proto: onnx.ModelProto
    feeds: dict[str, np.ndarray]


Tool = Callable[[onnx.ModelProto], onnx.ModelProto]


def text_models() -> Iterator[Subject]:
    """The models of rapidocr-onnxruntime, which find, turn and read lines of text."""
    package = importlib.util.find_spec("rapidocr_onnxruntime")
    if package is None or package.origin is None:
        return
    from skimage import data

    page = data.page().astype(np.float32) / 127.5 - 1
    sizes = {"det": (96, 96), "cls": (48, 192), "rec": (48, 160)}
    for kind, (height, width) in sizes.items():
        (path,) = (Path(package.origin).parent / "models").glob(f"*_{kind}_infer.onnx")
        proto = onnx.load(path)
        x = np.stack([page[:height, :width]] * 3)[None]
        yield Subject(f"rapidocr {kind}", proto, {proto.graph.input[0].name: x})


def torch_models() -> Iterator[Subject]:
    """Nets of torch, as its two exporters write them without folding or optimising."""
    import torch
    from torch import nn

    conv = nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.Dropout(0.1))
            for a, b in ((3, 16), (16, 32), (32, 32), (32, 64))
        ),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    layer = nn.TransformerEncoderLayer(64, 4, 128, activation="gelu", batch_first=True)
    nets: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "conv": (conv, (1, 3, 32, 32)),
        "lstm": (_last(nn.LSTM(32, 64, 2, batch_first=True, bidirectional=True)), (2, 20, 32)),
        "transformer": (nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), (2, 16, 64)),
    }
    torch.manual_seed(0)
    for name, (net, shape) in nets.items():
        x = torch.randn(shape)
        for old in (True, False):
            proto = _exported(net.eval(), x, old=old)
            exporter = "old" if old else "new"
            yield Subject(f"{name}, {exporter} exporter", proto, {proto.graph.input[0].name: x.numpy()})


def _exported(net: Any, x: Any, *, old: bool) -> onnx.ModelProto:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if old:
            written = io.BytesIO()
            torch.onnx.export(net, (x,), written, dynamo=False, do_constant_folding=False, opset_version=17)
            return onnx.load_from_string(written.getvalue())
        program = torch.onnx.export(net, (x,), dynamo=True, optimize=False, verbose=False)
    assert program is not None
    return program.model_proto


def _last(net: Any) -> Any:
    """The last step of what a recurrent net gives, as a module."""
    from torch import nn

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return self.net(x)[0][:, -1]

    return Last()


def tools() -> dict[str, Tool]:
    """The simplifiers that are installed."""
    found: dict[str, Tool] = {
        "graphdsl": lambda proto: gd.passes.simplify(proto).to_proto(),
        "graphdsl, exact": lambda proto: gd.passes.simplify(proto, exact=True).to_proto(),
    }
    if importlib.util.find_spec("onnxslim"):
        import onnxslim

        found["onnxslim"] = onnxslim.slim
    if importlib.util.find_spec("onnxsim"):
        import onnxsim

        found["onnxsim"] = lambda proto: onnxsim.simplify(proto)[0]
    if importlib.util.find_spec("onnxoptimizer"):
        import onnxoptimizer

        chosen = onnxoptimizer.get_fuse_and_elimination_passes()
        found["onnxoptimizer"] = lambda proto: onnxoptimizer.optimize(proto, chosen)
    return found


def copied(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A proto that a tool may change."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return copy


def outputs(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What a model gives on ONNX Runtime, unoptimised and in one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, feeds)
    return found


def difference(expected: list[np.ndarray], found: list[np.ndarray]) -> str:
    """How far outputs are from what they were."""
    if [a.shape for a in expected] != [a.shape for a in found]:
        return "other shapes"
    if all(a.tobytes() == b.tobytes() for a, b in zip(expected, found, strict=True)):
        return "same"
    far = [np.abs(a - b).max() / np.abs(a).max() for a, b in zip(expected, found, strict=True)]
    return f"{max(far):.0e}"


def count(graph: onnx.GraphProto) -> int:
    """The nodes of a graph and of its bodies, Constant nodes left out: they are another form of initializer."""
    found = 0
    stack = [graph]
    while stack:
        for node in stack.pop().node:
            found += node.op_type != "Constant"
            stack += [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return found


def row(subject: Subject, simplifiers: dict[str, Tool], repeats: int) -> list[str]:
    """One line of the table."""
    expected = outputs(subject.proto, subject.feeds)
    cells = [subject.name, str(count(subject.proto.graph))]
    for tool in simplifiers.values():
        best = float("inf")
        try:
            for _ in range(repeats):
                given = copied(subject.proto)
                start = perf_counter()
                made = tool(given)
                best = min(best, perf_counter() - start)
        except Exception as error:
            cells.append(f"fails: {type(error).__name__}")
            continue
        try:
            far = difference(expected, outputs(made, subject.feeds))
        except Exception:
            far = "does not run"
        cells.append(f"{count(made.graph)} · {best:.2f} s · {far}")
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    simplifiers = tools()
    subjects = [*text_models(), *torch_models()]
    rows = [row(subject, simplifiers, repeats) for subject in subjects]
    print("nodes left · seconds · difference of outputs\n")
    print(table(("model", "nodes", *simplifiers), rows))
    names = [name for name in simplifiers if not name.startswith("graphdsl")]
    print("\n" + ", ".join(f"{name} {version(name)}" for name in names))


if __name__ == "__main__":
    main()
