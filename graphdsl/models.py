"""Models as users hold them: call, run, save, look up a tensor, print."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from .emission import Emitter
from .errors import GraphError, nearest
from .ir import Input, ModelData, Node, Value
from .tensor import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Model(ModelData):
    """An ONNX model: immutable; every tool takes a model and gives a new one."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs, in order."""
        return tuple(map(Tensor, self.graph.inputs))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The tensors that the model returns, in order; `output_names` are their names."""
        return tuple(Tensor(value) for _, value in self.graph.outputs)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return tuple(info.name for info in self._emitted[0].graph.output)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in topological order, each with `.op_type`, `.inputs`, `.outputs` and `.attributes`."""
        return self.graph.nodes

    @property
    def opset(self) -> int:
        """The opset version of the default domain."""
        return self.opset_imports.get("", 1)

    @property
    def name(self) -> str:
        """The name of the graph."""
        return self.graph.name

    @cached_property
    def _emitted(self) -> tuple[onnx.ModelProto, dict[str, Value]]:
        emitter = Emitter(store=lambda proto, array: True)
        proto = emitter.model(self)
        return proto, {name: value for value, name in emitter.names.items()}

    def to_proto(self, *, locations: bool = False) -> onnx.ModelProto:
        """The model as a `ModelProto`; with `locations`, each node's metadata says where it was written."""
        return Emitter(locations=locations).model(self)

    def save(self, path: str | Path, *, locations: bool = False) -> None:
        """Write the model to a file."""
        Path(path).write_bytes(self.to_proto(locations=locations).SerializeToString())

    def __getitem__(self, name: str) -> Tensor:
        """A tensor of the model by its name."""
        names = self._emitted[1]
        found = names.get(name)
        if found is None:
            raise GraphError(f"the model {self.name!r} has no tensor {name!r}{nearest(str(name), names)}")
        return Tensor(found)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{v.name}: {v.type!r}" for v in self.graph.inputs)
        return f"<Model {self.name!r}({inputs}), {len(self.nodes)} nodes, opset {self.opset}>"

    def __str__(self) -> str:
        return str(onnx.printer.to_text(self.to_proto()))


def names_of(values: tuple[Input, ...]) -> list[str]:
    """The names of a graph's inputs."""
    return [v.name or "" for v in values]
