"""`verify.run`: a model on feeds, by one of several witnesses; a crash or a refusal is an answer like any other.

ONNX Runtime runs apart (`apart.py`), because some inputs end its process. The witnesses in Python run in this process,
which they cannot end.
"""

import weakref
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, TypeAlias

from .. import reference
from ..apart import POOL, Crash, Job, Limits, Refusal
from ..emission import Emitter
from ..errors import FeedError, GraphError, SignatureError, nearest
from ..feeds import checked
from ..ir import ModelData
from ..loading import Source, load
from ..models import PRODUCER
from ..runtime import OVERRIDES
from ..sites import at, caller
from .interpreters import NUMPY, in_torch, interpret

Outcome: TypeAlias = "dict[str, Any] | Refusal | Crash"
"""What comes of a run: the outputs by name, or why there are none."""

Witness: TypeAlias = Callable[[ModelData, Mapping[str, Any], Limits], Outcome]
"""What runs models."""

_PLAIN = (("intra_op_num_threads", 1), ("inter_op_num_threads", 1), ("use_deterministic_compute", True))
_UNOPTIMISED = (*_PLAIN, ("graph_optimization_level", "ORT_DISABLE_ALL"))


def run(
    model: ModelData | Source,
    feeds: Mapping[str, Any],
    witness: str = "onnxruntime",
    *,
    seconds: float = Limits.seconds,
    memory: int = Limits.memory,
) -> Outcome:
    """Run a model and survive it.

    >>> import graphdsl as gd
    >>> from graphdsl import op, verify
    >>> a, b = gd.input("a", gd.int64[1]), gd.input("b", gd.int64[1])
    >>> model = gd.build({"c": op.Div(a, b)})
    >>> verify.run(model, {"a": [7], "b": [2]})
    {'c': array([3])}
    >>> print(verify.run(model, {"a": [7], "b": [0]}))  # doctest: +ELLIPSIS
    failed: [ONNXRuntimeError] ... Integer division by zero
    >>> print(verify.run(model, {"a": [-(2**63)], "b": [-1]}))
    crashed: SIGFPE

    Args:
        model: A model, or what `gd.load` takes.
        feeds: Values by input name, as `model.run` takes them.
        witness: Who runs it: one of `verify.WITNESSES`.
        seconds, memory: What ONNX Runtime may take, in seconds and in bytes, before the run is given up.

    Returns:
        The outputs by name; a `verify.Refusal` where the witness does not run the model or fails; a `verify.Crash`
        where its process died or took too long.

    Raises:
        FeedError: the feeds do not fit the inputs.
        SignatureError: there is no such witness.
        LoadError: the model cannot be read.
        MissingRuntime: the witness is not installed.
    """
    if witness not in WITNESSES:
        raise SignatureError(
            f"there is no witness {witness!r}{nearest(witness, WITNESSES)}; there are "
            f"{', '.join(map(repr, WITNESSES))}" + at(caller())
        )
    subject = model if isinstance(model, ModelData) else load(model)
    given = checked(subject.graph.inputs, feeds, f"model {subject.graph.name!r}", symbols=subject.producer == PRODUCER)
    return WITNESSES[witness](subject, given, Limits(seconds, memory))


_emitted: "weakref.WeakKeyDictionary[ModelData, tuple[bytes, list[str]]]" = weakref.WeakKeyDictionary()
"""The bytes of models met before, and the names of their outputs."""


def _bytes(model: ModelData) -> tuple[bytes, list[str]]:
    found = _emitted.get(model)
    if found is None:
        proto = Emitter(numbered=True).model(model)
        if any(value.default is not None for value in model.graph.inputs):
            proto.ir_version = max(proto.ir_version, OVERRIDES)
        found = _emitted[model] = proto.SerializeToString(), [info.name for info in proto.graph.output]
    return found


def output_names(model: ModelData) -> list[str]:
    """The names of a model's outputs, in order."""
    return _bytes(model)[1]


def _runtime(options: tuple[tuple[str, Any], ...]) -> Witness:
    """ONNX Runtime with options of its sessions; models of one structure share a session."""
    salt = repr(options).encode()

    def witness(model: ModelData, feeds: Mapping[str, Any], limits: Limits) -> Outcome:
        proto, names = _bytes(model)
        digest = blake2b(proto, key=salt[:64], digest_size=16).digest()
        found = POOL.run(Job(digest, proto, options), feeds, limits)
        return dict(zip(names, found, strict=True)) if isinstance(found, list) else found

    return witness


_evaluations: "weakref.WeakKeyDictionary[ModelData, Any]" = weakref.WeakKeyDictionary()


def _reference(model: ModelData, feeds: Mapping[str, Any], limits: Limits) -> Outcome:
    """ONNX's reference evaluator."""
    try:
        evaluation = _evaluations.get(model)
        if evaluation is None:
            evaluation = _evaluations[model] = reference.Evaluation(model, f"model {model.graph.name!r}")
    except FeedError:
        raise
    except GraphError as error:
        return Refusal(str(error))
    try:
        return dict(zip(evaluation.outputs, evaluation.run(feeds), strict=True))
    except Exception as error:
        return Refusal(f"{type(error).__name__}: {error}", loaded=True)


WITNESSES: dict[str, Witness] = {
    "onnxruntime": _runtime(_PLAIN),
    "unoptimised": _runtime(_UNOPTIMISED),
    "reference": _reference,
    "numpy": lambda model, feeds, limits: interpret(model, feeds, NUMPY, output_names(model)),
    "torch": lambda model, feeds, limits: in_torch(model, feeds, output_names(model)),
}
"""Who can run a model.

"onnxruntime" as it is, "unoptimised" without its rewriting; "reference" of ONNX; "numpy" and "torch" for models of
operators that these have.
"""
