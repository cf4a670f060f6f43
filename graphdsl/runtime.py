"""Running models on ONNX Runtime, which is imported when a model is first run.

Sessions are kept as long as their model lives, one for each choice of outputs, providers and options, and shared by
threads. Large weights are handed over as arrays, so neither the proto nor its bytes hold a copy of them.
"""

import ctypes
import math
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from . import reference
from .emission import Emitter
from .errors import MissingRuntime, RunError, SignatureError, nearest
from .external import Held, TooLarge, describe, may_leave, refer, serialised
from .failures import Failure, Runtime, at_load, at_run, plain, read, unknown_opset
from .feeds import FOREIGN, checked
from .ir import Input, ModelData, Node, Output, Value
from .schemas import NEWEST_OPSET
from .sites import at, caller
from .types import SequenceType, TensorType, as_dtype, from_text
from .walk import constants, dependencies, reachable

CPU = ("CPUExecutionProvider",)
"""The providers of a session when none are chosen: the same on every machine."""

REFERENCE = (reference.PROVIDER,)
"""What stands for ONNX's reference evaluator among the providers."""

_HANDED_OVER = 16 * 1024
"""Weights of this many bytes and more are handed to the runtime as arrays; below, a copy costs no more than that."""

_NOT_PREPACKED = 1 << 30
"""With a weight this large, kernels keep weights as they are: rearranging one takes as much memory once more."""

UNOPTIMISED = {"graph_optimization_level": "ORT_DISABLE_ALL"}
"""Session options with which a tensor's value does not depend on which others are asked for."""

_UNTOUCHED = {**UNOPTIMISED, "intra_op_num_threads": 1, "inter_op_num_threads": 1}
"""Options of a session that runs nothing, and so needs no threads, which take longer to make than the rest."""

Options = Mapping[str, Any]


class Session:
    """A session of ONNX Runtime, and the names of what it takes and gives."""

    def __init__(self, native: Any, weights: list[Any]) -> None:
        self.native = native
        self.inputs = {info.name for info in (*native.get_inputs(), *native.get_overridable_initializers())}
        self.outputs = [info.name for info in native.get_outputs()]
        kinds = [from_text(info.type) for info in native.get_outputs()]
        self.foreign = any(isinstance(kind, TensorType) and kind.dtype.numpy in FOREIGN for kind in kinds)
        """Whether an output has a dtype that NumPy lacks."""
        self._weights = weights  # the runtime may read them instead of copies

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs' values in order, as the runtime gives them."""
        fed = {name: _handed(value) for name, value in feeds.items() if name in self.inputs}
        if not self.foreign:
            found: Sequence[Any] = self.native.run(self.outputs, fed)
            return found
        binding = self.native.io_binding()
        for name, value in fed.items():
            if isinstance(value, np.ndarray) and value.dtype != object:
                binding.bind_cpu_input(name, value)
            elif hasattr(value, "data_ptr"):
                binding.bind_ortvalue_input(name, value)
            else:
                raise RunError(
                    f"input {name!r} is no tensor of numbers, and ONNX Runtime's Python API gives outputs of dtypes "
                    "that NumPy lacks (bfloat16, float8, int4) for such tensors only; cast the outputs in the model, "
                    "as in y.astype(gd.float32)" + at(caller())
                )
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        self.native.run_with_iobinding(binding)
        values: Sequence[Any] = binding.get_outputs()
        return values


OVERRIDES = 4
"""In models of an older IR version, ONNX Runtime takes inputs that have defaults for constants."""


class _Place:
    """The place of one session: made by the first thread that asks, while others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: Session | reference.Evaluation | None = None
        self.needed: tuple[Input, ...] | None = None
        """The inputs that the session's outputs need."""


_places: "weakref.WeakKeyDictionary[ModelData, dict[Any, _Place]]" = weakref.WeakKeyDictionary()
_places_lock = threading.Lock()


def run(
    model: ModelData,
    feeds: Mapping[str, Any],
    *,
    wanted: Mapping[str, Value] | None = None,
    providers: Sequence[Any] | None = None,
    options: Options | None = None,
    symbols: bool = True,
) -> dict[str, Any]:
    """The values of a model's outputs by name: of all, or of those `wanted` alone.

    Raises:
        FeedError: the feeds do not fit the inputs.
        MissingRuntime: ONNX Runtime is not installed.
        RunError: ONNX Runtime refuses the model, or fails while running it.
    """
    label = f"model {model.graph.name!r}"
    if options is not None and not isinstance(options, Mapping):
        raise SignatureError(
            "options is a dict of ONNX Runtime's session options by name, as in "
            f'{{"intra_op_num_threads": 1}}, got {options!r} ({type(options).__name__})' + at(caller())
        )
    options = dict(options or {})
    providers = _providers(model, providers, options)
    given = any(value.default is not None and value.name in feeds for value in model.graph.inputs)
    overridden = given and model.ir_version < OVERRIDES
    key = (
        overridden,
        None if wanted is None else tuple(wanted),
        repr(providers),
        tuple(sorted((name, repr(value)) for name, value in options.items())),
    )
    with _places_lock:
        place = _places.setdefault(model, {}).setdefault(key, _Place())
    with place.lock:
        if place.needed is None:
            place.needed = model.graph.inputs if wanted is None else _part(model, wanted).graph.inputs
    arrays = checked(model.graph.inputs, feeds, label, needed=place.needed, symbols=symbols)
    with place.lock:
        if place.session is None:
            part = model if wanted is None else _part(model, wanted)
            if overridden:
                part = replace(part, ir_version=OVERRIDES)
            if providers == REFERENCE:
                place.session = reference.Evaluation(part, label)
            else:
                place.session = _load(part, providers, options, label)
        session = place.session
    try:
        found = session.run(arrays)
    except RunError:
        raise
    except Exception as error:
        part = model if wanted is None else _part(model, wanted)
        raise _run_error(part, arrays, str(error), providers, options, label) from error
    return dict(zip(session.outputs, map(received, found) if session.foreign else found, strict=True))


def _part(model: ModelData, wanted: Mapping[str, Value]) -> ModelData:
    """The model of some outputs only, with the inputs and nodes that they need."""
    needed = set(reachable(wanted.values())[0])
    nodes = [node for node in model.graph.nodes if node in needed]
    return _with(model, nodes, [Output(name, value) for name, value in wanted.items()])


def _with(model: ModelData, nodes: Sequence[Node], outputs: Sequence[Output]) -> ModelData:
    """A model of some of the nodes, with the inputs and listed constants that those need."""
    graph = replace(model.graph, nodes=tuple(nodes), outputs=tuple(outputs), initializers=(), declared={}, extras=b"")
    used = {value for node in nodes for value in dependencies(node)} | {value for _, value in outputs}
    used.update(constants(graph))
    graph = replace(
        graph,
        inputs=tuple(value for value in model.graph.inputs if value in used),
        initializers=tuple(value for value in model.graph.initializers if value in used),
    )
    return replace(model, graph=graph)


def _providers(model: ModelData, providers: Sequence[Any] | None, options: Options) -> tuple[Any, ...]:
    if providers is None:
        foreign = "register_custom_ops_library" not in options and reference.is_needed(model)
        return REFERENCE if foreign else CPU
    chosen = (providers,) if isinstance(providers, str) else providers
    if not isinstance(chosen, Sequence) or not all(map(_is_provider, chosen)):
        raise SignatureError(
            "providers is a list of ONNX Runtime's execution providers, each a name or (name, options), got "
            f"{providers!r} ({type(providers).__name__})" + at(caller())
        )
    chosen = tuple(chosen)
    if chosen == REFERENCE:
        return chosen
    known = _runtime().get_available_providers()
    for provider in chosen:
        name = provider if isinstance(provider, str) else provider[0]
        if name not in known:
            raise SignatureError(
                f"ONNX Runtime here has no provider {name!r}{nearest(str(name), known)}; it has "
                + ", ".join(map(repr, known))
                + at(caller())
            )
    return chosen


def _is_provider(item: Any) -> bool:
    return isinstance(item, str) or (isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str))


def _runtime() -> Any:
    """The module `onnxruntime`."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingRuntime(
            f"running a model needs ONNX Runtime ({error}); install it with: pip install onnx-graphdsl[run]"
            + at(caller())
        ) from error
    return onnxruntime


# Loading


def _load(model: ModelData, providers: tuple[Any, ...], options: Options, label: str) -> Session:
    """A session of a model.

    Raises:
        RunError: ONNX Runtime does not load it.
    """
    try:
        return _open(model, providers, options)
    except (SignatureError, MissingRuntime, RunError):
        raise
    except TooLarge as error:
        raise RunError(
            f"{label} is larger than 2 GB without the weights that can be handed over as arrays, which are its "
            "initializers other than text and small integers" + at(caller())
        ) from error
    except Exception as error:
        raise _load_error(model, str(error), providers, options) from error


def opens(model: ModelData) -> str | None:
    """Why ONNX Runtime does not load a model; None where it does. Nothing is run, and nothing folded.

    Raises:
        MissingRuntime: ONNX Runtime is not installed.
    """
    try:
        _load(model, CPU, _UNTOUCHED, f"model {model.graph.name!r}")
    except RunError as error:
        return str(error)
    return None


def _open(model: ModelData, providers: tuple[Any, ...], options: Options) -> Session:
    runtime = _runtime()
    held: list[Held] = []

    def hold(tensor: TensorProto, array: np.ndarray) -> bool:
        if not may_leave(array, _HANDED_OVER):
            return False
        held.append(Held(tensor, array))
        describe(tensor, array)
        refer(tensor, location="graphdsl-memory")
        return True

    proto = Emitter(numbered=True, store=hold).model(model)
    chosen = runtime.SessionOptions()
    chosen.log_severity_level = 4  # what it logs as errors is raised
    if any(item.array.nbytes >= _NOT_PREPACKED for item in held):
        chosen.add_session_config_entry("session.disable_prepacking", "1")
    for name, value in options.items():
        _set_option(chosen, name, value)
    weights = [_shared(item.array) for item in held]
    if weights:
        chosen.add_external_initializers([item.tensor.name for item in held], weights)
    native = runtime.InferenceSession(serialised(proto), chosen, providers=list(providers), enable_fallback=0)
    return Session(native, weights)


def session_of(proto: bytes, options: Options) -> Session:
    """A session on the CPU for a serialised model; what the runtime raises is not explained."""
    chosen = _runtime().SessionOptions()
    chosen.log_severity_level = 4
    for name, value in options.items():
        _set_option(chosen, name, value)
    native = _runtime().InferenceSession(proto, chosen, providers=list(CPU), enable_fallback=0)
    return Session(native, [])


def _set_option(options: Any, name: str, value: Any) -> None:
    """Set one of `SessionOptions`: a config entry if its name has a dot, else an attribute, or a method to call."""
    if "." in name:
        options.add_session_config_entry(name, str(value))
        return
    if name.startswith("_") or not hasattr(options, name):
        known = [known for known in dir(options) if not known.startswith("_")]
        raise SignatureError(f"ONNX Runtime's SessionOptions has no {name!r}{nearest(name, known)}" + at(caller()))
    current = getattr(options, name)
    try:
        if callable(current):
            current(*value) if isinstance(value, tuple) else current(value)
        elif isinstance(value, str) and not isinstance(current, str):
            setattr(options, name, getattr(type(current), value, value))
        else:
            setattr(options, name, value)
    except TypeError:
        members = ", ".join(getattr(type(current), "__members__", ()))
        takes = f"is one of {members}" if members else f"is {type(current).__name__}, as {current!r}"
        if callable(current):
            takes = "is a method, called with the value, or with several in a tuple"
        raise SignatureError(f"the option {name!r} {takes}; got {value!r}" + at(caller())) from None
    except Exception as error:
        raise RunError(f"ONNX Runtime refuses the option {name!r}: {plain(str(error))}" + at(caller())) from error


# Values


def _shared(array: np.ndarray) -> Any:
    """An array as the runtime's value, of the same memory."""
    values, dtype = _runtime().OrtValue, as_dtype(array.dtype)
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype not in FOREIGN:
        return values.ortvalue_from_numpy(array)
    if dtype.bits >= 8:
        raw = array.view(np.uint16 if dtype.bits == 16 else np.uint8)
    else:  # the runtime's tensors of these are packed, and only the start of a longer buffer is read
        packed = np.frombuffer(numpy_helper.from_array(array).raw_data, np.uint8)
        raw = np.zeros(array.shape, np.uint8)
        raw.reshape(-1)[: packed.size] = packed
    return values.ortvalue_from_numpy_with_onnx_type(raw, dtype.code)


def _handed(value: Any) -> Any:
    """A checked feed as the runtime takes it."""
    return _shared(value) if isinstance(value, np.ndarray) and value.dtype in FOREIGN else value


def received(value: Any) -> Any:
    """A value of the runtime as an array."""
    kind = from_text(value.data_type())
    if isinstance(kind, SequenceType) or not isinstance(kind, TensorType) or kind.dtype.numpy not in FOREIGN:
        return value.numpy()
    size = -(-math.prod(value.shape()) * kind.dtype.bits // 8)
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    proto = TensorProto(data_type=kind.dtype.code, dims=value.shape(), raw_data=raw)
    return numpy_helper.to_array(proto)


# Failures


def _run_error(
    model: ModelData, arrays: Mapping[str, Any], message: str, providers: tuple[Any, ...], options: Options, label: str
) -> RunError:
    """The error of a failed run. Where the runtime names a node that it made, it is asked again without rewriting."""
    nodes, names = _numbered(model)
    failure = read(message, nodes)
    if not failure.exact:
        with suppress(Exception):
            plainly = _open(model, providers, {**options, **UNOPTIMISED})
            try:
                plainly.run(arrays)
            except Exception as error:
                again = read(str(error), nodes)
                failure = again if again.exact else failure
    return at_run(failure, label, arrays, names)


def _load_error(model: ModelData, message: str, providers: tuple[Any, ...], options: Options) -> RunError:
    """The error of a failed load. Kernels that refuse to be made do not say for which node, so that is searched."""
    nodes, names = _numbered(model)
    failure = read(message, nodes)
    if not failure.nodes and "during initialization" in message:
        culprit = _culprit(model, failure.text, providers, options)
        if culprit is not None:
            failure = Failure((culprit,), failure.text, exact=True)
    label = f"ONNX Runtime {_runtime().__version__}"
    return at_load(message, failure, model, Runtime(label, _newest_opset()), nodes, names)


@cache
def _newest_opset() -> int:
    """The newest opset that the installed runtime runs, which it tells when it is given a newer one."""
    node = helper.make_node("Identity", ["x"], ["y"])
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in "xy"]
    graph = helper.make_graph([node], "newest", info[:1], info[1:])
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", NEWEST_OPSET)])
    try:
        _runtime().InferenceSession(serialised(proto), providers=list(CPU))
    except Exception as error:
        found = unknown_opset(str(error))
        if found:
            return int(found[3])
    return NEWEST_OPSET


def _numbered(model: ModelData) -> tuple[list[Node], dict[Value | None, str]]:
    """The nodes by the numbers that the runtime knows them by, and the names of the values."""
    emitter = Emitter(numbered=True, store=lambda tensor, array: True)
    emitter.model(model)
    assert emitter.numbered is not None
    return emitter.numbered, emitter.names


def _culprit(model: ModelData, text: str, providers: tuple[Any, ...], options: Options) -> Node | None:
    """The node without which the model would load: the last one of the shortest beginning that fails alike."""
    nodes = model.graph.nodes

    def fails(count: int) -> bool:
        try:
            _open(_beginning(model, count), providers, options)
        except Exception as error:
            return bool(plain(str(error)) == text)
        return False

    loads, refused = 0, len(nodes)
    if not nodes or not fails(refused):
        return None
    while refused - loads > 1:
        middle = (loads + refused) // 2
        loads, refused = (loads, middle) if fails(middle) else (middle, refused)
    return nodes[refused - 1]


def _beginning(model: ModelData, count: int) -> ModelData:
    """The model of the first nodes; what none of them uses is an output."""
    nodes = model.graph.nodes[:count]
    used = {value for node in nodes for value in dependencies(node)}
    return _with(model, nodes, [Output(None, value) for node in nodes for value in node.outputs if value not in used])


__all__ = ["run"]
