"""What a torch module does when it is called: every call of a part, with the tensors that go in and come out.

Forward hooks see the calls. A tensor is told from another by identity and version, so that an output handed through, or
changed in place, is known for what it is. Its values are copied when it is first seen.
"""

import sys
import tempfile
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

from ..sites import Site
from .calling import as_array, evaluating, leaves, torch

_MACHINERY = ("torch.nn.modules.module", "torch.nn.modules.container", "torch.utils._contextlib", "graphdsl.")
"""Modules whose lines say nothing of which part is called."""


class Store:
    """Arrays in memory up to a number of bytes, then in temporary files that are mapped."""

    def __init__(self, memory: int) -> None:
        self._left = memory

    def keep(self, array: np.ndarray) -> np.ndarray:
        """The array, or one in a file with its contents."""
        self._left -= array.nbytes
        if self._left >= 0 or not array.nbytes or array.dtype.hasobject:
            return array
        with tempfile.TemporaryFile() as file:
            mapped: np.ndarray = np.memmap(file, dtype=array.dtype, mode="w+", shape=array.shape or (1,))
        mapped = mapped.reshape(array.shape)
        mapped[...] = array
        return mapped


@dataclass(eq=False)
class Place:
    """One tensor of the run that is right by definition."""

    array: np.ndarray
    maker: "Call | None"
    """The innermost call that returned it; where none did, the call whose own code made it."""
    taker: "Call | None" = None
    """The call that it was first given to, where no call had returned it."""
    is_argument: bool = False
    """Whether it is an argument of the module, perhaps handed through by a part."""


@dataclass(eq=False)
class Call:
    """One call of one part of a module."""

    path: str
    kind: str
    number: int
    """The how-manieth call of this part, from 0."""
    parent: "Call | None"
    site: Site | None
    """Where the call is written."""
    inputs: list[Place] = field(default_factory=list)
    outputs: list[Place] = field(default_factory=list)
    is_leaf: bool = True
    """Whether it calls no other part."""

    @property
    def label(self) -> str:
        """The path, with the number of the call where it is not the first."""
        return self.path if not self.number else f"{self.path} ({self.number + 1})"


@dataclass(eq=False)
class Recording:
    """A run of a module: its calls in the order in which they end, so that the last is the module's own."""

    calls: list[Call]
    uncalled: list[tuple[str, str]]
    """Path and class of parts with weights of their own that were not called."""


def record(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], store: Store) -> Recording:
    """Call a module in eval mode and without gradients, and record what its parts do."""
    recorder = _Recorder(store)
    paths = {part: path for path, part in reversed(list(module.named_modules()))}
    handles = []
    try:
        for part, path in paths.items():
            if isinstance(part, torch().jit.ScriptModule):
                continue  # these take no hooks
            handles.append(part.register_forward_pre_hook(recorder.enter(path), with_kwargs=True))
            handles.append(part.register_forward_hook(recorder.leave))
        with evaluating(module), torch().no_grad():
            returned = module(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    if isinstance(module, torch().jit.ScriptModule):
        recorder.whole(module, returned)
    called = {call.path for call in recorder.calls}
    uncalled = [
        (path, type(part).__name__)
        for path, part in module.named_modules()
        if path not in called and any(True for _ in part.parameters(recurse=False))
    ]
    return Recording(recorder.calls, uncalled)


class _Recorder:
    def __init__(self, store: Store) -> None:
        self.calls: list[Call] = []
        self._store = store
        self._stack: list[Call] = []
        self._numbers: Counter[str] = Counter()
        self._known: dict[int, tuple[Any, int | None, Place]] = {}

    def enter(self, path: str) -> Any:
        """The hook that is called before a part is."""

        def hook(part: Any, args: Any, kwargs: Any) -> None:
            parent = self._stack[-1] if self._stack else None
            if parent is not None:
                parent.is_leaf = False
            call = Call(path, type(part).__name__, self._numbers[path], parent, _caller())
            self._numbers[path] += 1
            call.inputs = [self._place(leaf, parent, call) for leaf in _tensors((args, kwargs))]
            self._stack.append(call)

        return hook

    def leave(self, part: Any, args: Any, output: Any) -> None:
        """The hook that is called after a part was."""
        call = self._stack.pop()
        for leaf in _tensors(output):
            place = self._place(leaf, call, None)
            if call.is_leaf and place in call.inputs:
                # it returned what it was given; the model may have a node for it all the same
                place = Place(place.array, call, None, place.is_argument)
                self._known[id(leaf)] = (*self._known[id(leaf)][:2], place)
            call.outputs.append(place)
        self.calls.append(call)

    def whole(self, module: Any, output: Any) -> None:
        """Record what a module returned that takes no hooks."""
        call = Call("", type(module).__name__, 0, None, None)
        call.outputs = [self._place(leaf, call, None) for leaf in _tensors(output)]
        self.calls.append(call)

    def _place(self, tensor: Any, maker: Call | None, taker: Call | None) -> Place:
        key = id(tensor)
        found = self._known.get(key)
        version = None if tensor.is_inference() else tensor._version
        if found is not None and found[0]() is tensor and found[1] == version:
            return found[2]
        place = Place(self._store.keep(as_array(tensor)), maker, taker, is_argument=maker is None)
        self._known[key] = weakref.ref(tensor), version, place
        return place


def _tensors(value: Any) -> list[Any]:
    return [leaf for _, leaf in leaves(value) if isinstance(leaf, torch().Tensor)]


def _caller() -> Site | None:
    """Where the part is called, as somebody wrote it: in a forward method, or where the whole module is called."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_MACHINERY):
        frame = frame.f_back
    return None if frame is None else (frame.f_code, frame.f_lasti)
