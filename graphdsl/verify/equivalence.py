"""`verify.equivalent` and `verify.matches`: whether a model computes what another, or a Python function, computes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from ..emission import Emitter
from ..errors import BuildError, RunError
from ..inlining import inline
from ..ir import ModelData, Node, Output
from ..loading import Source, load
from ..sites import at, caller
from ..types import DType, OptionalType, SequenceType, TensorType, Type, as_dtype, may_be
from .advice import advice
from .draws import ORDINARY, Found, draws, kinds, search
from .evaluation import Computed, Evaluation, limits
from .judging import REFUTED, Draw, Judge, Judgement, ModelSide
from .verdicts import Refuted, Verdict, message, nodes_of, program


def equivalent(
    before: ModelData | Source,
    after: ModelData | Source,
    *,
    feeds: Mapping[str, Any] | None = None,
    examples: int = 200,
    seed: int = 0,
    without: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> Verdict:
    """Whether two models compute the same, on drawn inputs.

    The first model is right by definition. Dtypes, shapes, NaN and infinities have to be the same, and so have
    integers, booleans and text; floats are compared with what the first model gives in float64, so that another order
    of additions passes and a wrong coefficient does not. Inputs on which the standard does not define what happens
    are set aside and counted.

    >>> import graphdsl as gd
    >>> from graphdsl import verify
    >>> x, y = gd.input("x", gd.float32["n"]), gd.input("y", gd.float32["n"])
    >>> before = gd.build({"z": (x + y) * 2})
    >>> verify.equivalent(before, gd.build({"z": x * 2 + y * 2})).subject
    "models 'graph' and 'graph'"
    >>> verify.equivalent(before, gd.build({"z": x * 2 + y}))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graphdsl.verify.Refuted: models 'graph' and 'graph': other numbers, by ...

    Args:
        before, after: Models, or what `gd.load` takes, with the same inputs and as many outputs.
        feeds: The one input to judge; by default inputs are drawn, as `verify.feeds` draws them.
        examples: How many inputs are drawn.
        seed: Other seeds draw other inputs.
        without: Which edges to leave out, as for `verify.tensors`.
        sizes: Sizes of named dimensions.

    Raises:
        Refuted: they do not agree; `.feeds` is the smallest input found on which they differ.
        BuildError: the models take other inputs, or give another number of outputs.
        FeedError: the given feeds do not fit.
    """
    one, other = (model if isinstance(model, ModelData) else load(model) for model in (before, after))
    _check_interfaces(one, other)
    subject = f"models {one.graph.name!r} and {other.graph.name!r}"
    judge = Judge(ModelSide(one), ModelSide(other))
    verdict = Verdict(subject)
    if feeds is not None:
        arrays = {name: value if isinstance(value, list) else np.asarray(value) for name, value in feeds.items()}
        judgement = judge.judge(arrays)
        found = Found(arrays, judgement) if judgement.kind == REFUTED else None
        verdict.count(judgement)
    else:
        found = _searched(judge, verdict, one, examples=examples, seed=seed, without=without, sizes=sizes)
    if found is not None:
        raise refutation(subject, one, other, found.feeds, found.judgement)
    return verdict


def _searched(
    judge: Judge,
    verdict: Verdict,
    model: ModelData,
    *,
    examples: int,
    seed: int,
    without: Sequence[str],
    sizes: Mapping[str, int] | None,
) -> Found | None:
    """The smallest refutation found, on draws of each kind: ordinary numbers in half of them."""
    found = kinds(without)
    share = examples // (2 * len(found) - 2)
    for kind in found:
        count = examples - share * (len(found) - 1) if kind == ORDINARY else share
        strategy = draws(model, kind, without, sizes)
        result = search(_judging(judge, verdict), [strategy], examples=count, seed=seed) if count else None
        if result is not None:
            return result
    return None


def _judging(judge: Judge, verdict: Verdict) -> Callable[[tuple[Mapping[str, Any]]], None]:
    rounding = True

    def test(drawn: tuple[Mapping[str, Any]]) -> None:
        nonlocal rounding
        judgement = judge.judge(drawn[0], roundings=rounding)
        verdict.count(judgement)
        if judgement.kind == REFUTED:
            rounding = judgement.rounding  # what is smaller is to differ in the same way
            raise Found(drawn[0], judgement)

    return test


def _check_interfaces(before: ModelData, after: ModelData) -> None:
    takes = [{value.name: value for value in model.graph.inputs} for model in (before, after)]
    for name, value in takes[1].items():
        if name not in takes[0] and value.default is None:
            raise BuildError(f"only the second model has the input {name!r}, so they cannot be compared" + at(caller()))
        if name in takes[0] and not may_be(value.type, takes[0][name].type):
            raise BuildError(
                f"input {name!r} is {takes[0][name].type!r} in one model and {value.type!r} in the other" + at(caller())
            )
    counts = [len(model.graph.outputs) for model in (before, after)]
    if counts[0] != counts[1]:
        raise BuildError(f"one model has {counts[0]} outputs and the other {counts[1]}" + at(caller()))


def refutation(
    what: str,
    before: ModelData,
    after: ModelData,
    feeds: Mapping[str, Any],
    found: Judgement,
    *,
    with_nodes: bool = False,
) -> Refuted:
    """The exception for a draw on which two models differ; `with_nodes` where nobody has seen these models before."""
    node = first_difference(before, after, feeds)
    text = message(what, found, feeds, node, output_names(before)[found.output])
    told = advice(before, after, feeds)
    if told is not None:
        text += f"\n  {told}"
    if with_nodes:
        text = "\n".join([text, *nodes_of("the pattern was", before), *nodes_of("and became", after)])
    script = program(text, before, after, feeds)
    return Refuted(text, feeds=feeds, judgement=found, before=before, after=after, node=node, script=script)


def output_names(model: ModelData) -> list[str]:
    """The names of a model's outputs."""
    return [info.name for info in Emitter(store=lambda tensor, array: True).model(model).graph.output]


# Where models differ


def first_difference(before: ModelData, after: ModelData, feeds: Mapping[str, Any]) -> str | None:
    """The first node of the second model whose values differ from those of the node that it shares a place with.

    Nodes share a place if one value is an output of both, if their outputs have one name, or if they stand at the same
    point of the longest run of equal operators.
    """
    plain = [inline(model) if model.functions else model for model in (before, after)]
    pairs = _paired(*plain)
    if len(pairs) < 2:
        return None
    exposed = [_exposing(model, [pair[place] for pair in pairs]) for place, model in enumerate(plain)]
    judge = Judge(*map(ModelSide, exposed))
    try:
        sides = [Evaluation(model, feeds, wide=True) for model in exposed]
    except RunError:
        return None
    draw = Draw(judge, feeds, *sides)
    for index, (_, node) in enumerate(pairs):
        if draw.compare(index).kind == REFUTED:
            emitter = Emitter(store=lambda tensor, array: True)
            emitter.model(plain[1])
            return f"{node.schema.label}, which makes {emitter.names[node.outputs[0]]!r}" + at(node.site)
    return None


def _exposing(model: ModelData, nodes: Sequence[Node]) -> ModelData:
    outputs = tuple([Output(f"exposed {index}", node.outputs[0]) for index, node in enumerate(nodes)])
    return replace(model, graph=replace(model.graph, outputs=outputs, declared={}))


def _paired(before: ModelData, after: ModelData) -> list[tuple[Node, Node]]:
    """Nodes of two models that do the same job, in the order of the second."""
    named = [_by_name(model) for model in (before, after)]
    known = set(before.graph.nodes)
    found: dict[Node, Node] = {}
    for name, node in named[1].items():
        if name in named[0]:
            found[node] = named[0][name]
    lists = [list(model.graph.nodes) for model in (before, after)]
    kinds = [[node.schema.label for node in nodes] for nodes in lists]
    for block in SequenceMatcher(a=kinds[0], b=kinds[1], autojunk=False).get_matching_blocks():
        for place in range(block.size):
            found.setdefault(lists[1][block.b + place], lists[0][block.a + place])
    found.update({node: node for node in lists[1] if node in known})
    return [(found[node], node) for node in after.graph.nodes if node in found]


def _by_name(model: ModelData) -> dict[str, Node]:
    return {value.name: node for node in model.graph.nodes for value in node.outputs[:1] if value.name}


# Functions


def matches(
    model: ModelData | Source,
    function: Callable[..., Any],
    *,
    examples: int = 200,
    seed: int = 0,
    without: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> Verdict:
    """Whether a model computes what a Python function on arrays computes, which is right by definition.

    The function gets the inputs in order, floats also in float64, which tells rounding from error.

    >>> import numpy as np
    >>> import graphdsl as gd
    >>> from graphdsl import op, verify
    >>> x = gd.input("x", gd.float32["n", 3])
    >>> def softmax(x):
    ...     shifted = np.exp(x - x.max(axis=1, keepdims=True))
    ...     return shifted / shifted.sum(axis=1, keepdims=True)
    >>> print(verify.matches(gd.build(op.Softmax(x)), softmax, without=["empty"]))  # doctest: +ELLIPSIS
    model 'graph': not refuted
      agree...

    Args:
        model: A model, or what `gd.load` takes.
        function: Gives an array, or as many as the model has outputs. Numbers and nested lists of them are arrays, of
            the output's dtype; a sequence is a list of arrays.
        examples, seed, without, sizes: As for `verify.equivalent`.

    Raises:
        Refuted: they do not agree; `.feeds` is the smallest input found on which they differ.
        BuildError: the function gives no array where the model has a tensor, or another number of them.
    """
    subject = model if isinstance(model, ModelData) else load(model)
    what = f"model {subject.graph.name!r}"
    verdict = Verdict(what)
    judge = Judge(_FunctionSide(function, subject), ModelSide(subject))
    found = _searched(judge, verdict, subject, examples=examples, seed=seed, without=without, sizes=sizes)
    if found is None:
        return verdict
    text = message(what, found.judgement, found.feeds, None, output_names(subject)[found.judgement.output])
    raise Refuted(text, feeds=found.feeds, judgement=found.judgement, after=subject)


class _FunctionSide:
    """A Python function on arrays as one of two sides."""

    types: Sequence[Type | None] = ()

    def __init__(self, function: Callable[..., Any], model: ModelData) -> None:
        self._function = function
        self._inputs = model.graph.inputs
        self._kinds = [value.type for _, value in model.graph.outputs]

    def compute(self, feeds: Mapping[str, Any], *, noise: int | None = None) -> Computed:
        """The outputs in float64."""
        random = None if noise is None else np.random.default_rng(noise)
        result = Computed()
        given = []
        for value, item in zip(self._inputs, self._given(feeds), strict=True):
            dtype = _float_dtype(value.type)
            if dtype is not None and isinstance(item, np.ndarray):
                result.measure(item, dtype, "an input")
                item = _blurred(item.astype(np.float64), dtype, random)
            given.append(item)
        for item, kind in zip(self._called(given), self._kinds, strict=True):
            dtype = _float_dtype(kind)
            if dtype is not None and item.dtype.kind != "O":
                item = item.astype(np.float64) if as_dtype(item.dtype).kind == "float" else item
                result.measure(item, dtype, "the function")
                item = _blurred(item, dtype, random)
            result.outputs.append(item)
        result.operators.add("a Python function")
        return result

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        """The outputs in their own dtypes."""
        return self._called(self._given(feeds))

    run_reference = run

    def _given(self, feeds: Mapping[str, Any]) -> list[Any]:
        return [feeds.get(value.name or "", value.default) for value in self._inputs]

    def _called(self, given: Sequence[Any]) -> list[Any]:
        with np.errstate(all="ignore"):
            returned = self._function(*given)
        several = isinstance(returned, (list, tuple))
        items = list(returned) if several and len(self._kinds) > 1 else [returned]
        if len(items) != len(self._kinds):
            gives = f"{len(items)} values" if several else "one value"
            raise self._error(f"gives {gives}, and the model has {len(self._kinds)} outputs")
        return [self._output(item, kind) for item, kind in zip(items, self._kinds, strict=True)]

    def _output(self, item: Any, kind: Type | None) -> Any:
        """What the function gives for one output: an array for a tensor, a list of them for a sequence."""
        if isinstance(kind, OptionalType):
            return None if item is None else self._output(item, kind.element)
        if isinstance(kind, SequenceType) or (kind is None and isinstance(item, list)):
            if not isinstance(item, (list, tuple)):
                raise self._error(f"gives a {type(item).__name__} for a sequence; return a list of arrays")
            return [self._output(element, kind.element if kind is not None else None) for element in item]
        if isinstance(item, (list, tuple)) and any(isinstance(element, np.ndarray) for element in item):
            raise self._error(f"gives a {type(item).__name__} of arrays for one tensor; return the array itself")
        try:
            array = np.asarray(item)
        except ValueError as error:
            raise self._error(f"gives a {type(item).__name__} that is no array: {error}") from None
        return self._array(array, item, kind)

    def _array(self, array: np.ndarray, item: Any, kind: Type | None) -> np.ndarray:
        """An array, of the tensor's dtype where Python numbers have none of their own."""
        if array.dtype.kind == "U" or (array.dtype == object and all(isinstance(x, str) for x in array.flat)):
            return array.astype(object)
        if array.dtype.kind in "OSVMm" and array.dtype.isbuiltin != 2:  # 2 are the small floats of ml_dtypes
            what = f"an array of {array.dtype}" if isinstance(item, np.ndarray) else f"a {type(item).__name__}"
            raise self._error(f"gives {what} for a tensor; return an array of numbers or text")
        if isinstance(item, np.ndarray | np.generic) or not isinstance(kind, TensorType):
            return array
        plain = {"b": ("bool",), "i": ("int", "uint", "float"), "f": ("float",), "c": ("complex",)}
        fits = not array.size or kind.dtype.kind in plain.get(array.dtype.kind, ())
        return array.astype(kind.dtype.numpy) if fits else array

    def _error(self, problem: str) -> BuildError:
        code = getattr(self._function, "__code__", None)
        name = getattr(self._function, "__name__", type(self._function).__name__)
        return BuildError(f"function {name!r} {problem}" + at(None if code is None else (code, 0)))


def _float_dtype(kind: Type | None) -> DType | None:
    return kind.dtype if isinstance(kind, TensorType) and kind.dtype.kind == "float" else None


def _blurred(array: np.ndarray, dtype: DType, random: np.random.Generator | None) -> np.ndarray:
    """An array with an error of the size of a rounding in each element."""
    if random is None or array.dtype.kind != "f":
        return array
    return array * (1 + limits(dtype).epsilon / 2 * random.uniform(-1, 1, array.shape))
