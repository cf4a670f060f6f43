"""Models as users hold them: call, run, save, look up a tensor, print."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx

from . import runtime, saving
from .dims import Dim
from .emission import Emitter
from .errors import FeedError, GraphError, nearest
from .feeds import by_name, check_names, report
from .ir import ModelData, Node, Value
from .lookup import Tensors
from .printing import model_text
from .sites import at, caller
from .tensor import Tensor
from .tensor.handle import Handle
from .tracing import inline

PRODUCER = "graphdsl"
"""The producer of models built here. In those, dimensions of one name are equal; others write wrong names."""


@dataclass(frozen=True, eq=False, repr=False)
class Model(ModelData):
    """An ONNX model: immutable; every tool takes a model and gives a new one.

    Called on arrays it runs on ONNX Runtime; called on tensors it becomes part of their graph.
    """

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
        return self._tensors.output_names

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
    def _tensors(self) -> Tensors:
        return Tensors(self)

    def __call__(self, /, *given: Any, **named: Any) -> Any:
        """Run the model on arrays, or put it into the graph that its tensor arguments belong to.

        >>> import graphdsl as gd
        >>> x = gd.input("x", gd.float32["n"])
        >>> gd.build({"y": x * 2})([1, 2])
        array([2., 4.], dtype=float32)

        Args:
            given: The inputs in order: arrays of their dtypes; Python numbers and lists adopt them. If any is a
                tensor, the others may be arrays, which become constants.
            named: Inputs by name.

        Returns:
            The output, or a tuple of several: arrays, or tensors where tensors were given.

        Raises:
            FeedError: the arguments do not fit the inputs.
            MissingRuntime: ONNX Runtime is not installed.
            RunError: ONNX Runtime refuses the model, or fails while running it.
        """
        feeds = by_name(self.graph.inputs, given, named, f"model {self.name!r}")
        found: Sequence[Any]
        if any(isinstance(value, (Handle, Dim)) for value in feeds.values()):
            report(check_names(self.graph.inputs, feeds, self.graph.inputs), f"model {self.name!r}")
            found = inline(self, feeds)
        else:
            found = tuple(self.run(feeds).values())
        return found[0] if len(found) == 1 else found

    def run(
        self,
        feeds: Mapping[str, Any],
        outputs: str | Iterable[str] | None = None,
        providers: Sequence[Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Run the model on ONNX Runtime: arrays by input name give arrays by output name.

        >>> import graphdsl as gd
        >>> x = gd.input("x", gd.float32["n"])
        >>> model = gd.build({"double": x * 2, "half": x / 2})
        >>> model.run({"x": [1, 2]}, outputs=["half"])
        {'half': array([0.5, 1. ], dtype=float32)}

        Args:
            feeds: Arrays of the inputs' dtypes; Python numbers and lists adopt them. Sequences are lists of arrays; an
                absent optional is None.
            outputs: The outputs to compute, and nothing that only others need; by default all.
            providers: ONNX Runtime's execution providers, as it takes them; by default the CPU alone. "reference" is
                ONNX's reference evaluator, which is also what runs operators with a NumPy body (`gd.custom_op`).
            options: Options of the session by name: attributes and methods of `onnxruntime.SessionOptions`
                (`intra_op_num_threads`), and config entries (`session.disable_prepacking`).

        Raises:
            FeedError: the feeds do not fit the inputs, or there is no such output.
            MissingRuntime: ONNX Runtime is not installed.
            RunError: ONNX Runtime refuses the model, or fails while running it.
        """
        if not isinstance(feeds, Mapping):
            raise FeedError(f"run takes a dict of arrays by input name, not {type(feeds).__name__}" + at(caller()))
        wanted = None if outputs is None else self._wanted([outputs] if isinstance(outputs, str) else list(outputs))
        return runtime.run(
            self, feeds, wanted=wanted, providers=providers, options=options, symbols=self.producer == PRODUCER
        )

    def _wanted(self, names: list[str]) -> dict[str, Value] | None:
        """The outputs of these names; None when they are all, in order."""
        known = dict(zip(self.output_names, (value for _, value in self.graph.outputs), strict=True))
        if not names:
            raise FeedError(
                f"model {self.name!r}: outputs={names!r} asks for none; leave it out for all" + at(caller())
            )
        for name in names:
            if name not in known:
                raise FeedError(
                    f"model {self.name!r} has no output {name!r}{nearest(str(name), known)}; it has "
                    + ", ".join(map(repr, known))
                    + at(caller())
                )
        return None if names == list(known) else {name: known[name] for name in names}

    def to_proto(self, *, locations: bool = False) -> onnx.ModelProto:
        """The model as a `ModelProto`; with `locations`, each node's metadata says where it was written."""
        return Emitter(locations=locations).model(self)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        locations: bool = False,
        external_data: bool | None = None,
        size_threshold: int = 1024,
    ) -> None:
        """Write the model to a file, which appears there when it is complete; see `gd.save`."""
        saving.save(self, path, locations=locations, external_data=external_data, size_threshold=size_threshold)

    def __getitem__(self, name: str | tuple[str, ...]) -> Tensor:
        """A tensor of the model by its name, or by the path to a body: of the node, the attribute and in the body.

        >>> import graphdsl as gd
        >>> x = gd.input("x", gd.float32["n"])
        >>> gd.build({"y": (x * 2).named("twice") + 1})["twice"]
        <Tensor 'twice' float32['n']>

        Raises:
            GraphError: there is none, or several bodies have one; the message says how to reach each.
        """
        try:
            return Tensor(self._tensors.find(name))
        except LookupError as error:
            raise GraphError(f"model {self.name!r} has {error.args[0]}" + at(caller())) from None

    def name_of(self, tensor: Tensor | Value) -> str:
        """The name that a tensor of the model is written with, also where it was given none: what `model[...]` takes.

        >>> import graphdsl as gd
        >>> model = gd.build({"y": gd.input("x", gd.float32["n"]) * 2 + 1})
        >>> [[model.name_of(value) for value in node.inputs] for node in model.nodes]
        [['x', 'const_0'], ['Mul_0', 'const_1']]

        Args:
            tensor: A tensor, or what a node holds in `.inputs` and `.outputs`.

        Raises:
            GraphError: it is no tensor of this model.
        """
        value = tensor._v if isinstance(tensor, Handle) else tensor
        name = self._tensors.names.get(value) if isinstance(value, Value) else None
        if name is None:
            raise GraphError(f"{tensor!r} is no tensor of model {self.name!r}" + at(caller()))
        return name

    def __repr__(self) -> str:
        inputs = ", ".join(f"{v.name}: {v.type!r}" for v in self.graph.inputs)
        return f"<Model {self.name!r}({inputs}), {len(self.nodes)} nodes, opset {self.opset}>"

    def __str__(self) -> str:
        return model_text(self)
