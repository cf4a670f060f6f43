"""`verify.models`: that every model is valid, what they are made of, and what they shrink to."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, Phase, find, given, note, settings

import graphdsl as gd
from graphdsl import verify
from graphdsl.types import TensorType
from graphdsl.verify.drafts import BY_SIMPLICITY
from graphdsl.verify.programs import FLOW, OPSETS, Plan, _known, _models
from graphdsl.verify.recipes import RECIPES, elementwise
from graphdsl.walk import graphs

QUIET = list(HealthCheck)
QUICK = settings(database=None, derandomize=True, deadline=None, suppress_health_check=QUIET)


def strict(operators: tuple[str, ...], steps: int, opsets: tuple[int, ...] = OPSETS) -> Any:
    """Models whose making raises where a recipe makes a call that is refused."""
    known = tuple(opset for opset in opsets if _known(operators, opset))
    return _models(Plan(operators, frozenset(BY_SIMPLICITY), known, steps, 3, False, frozenset(), strict=True))


def seen(strategy: Any, count: int) -> list[gd.Model]:
    """What a strategy draws."""
    found = []

    @settings(QUICK, max_examples=count, phases=[Phase.generate])
    @given(strategy)
    def collect(model: gd.Model) -> None:
        found.append(model)

    collect()
    return found


def nodes(model: gd.Model) -> list[Any]:
    """The nodes of a model, its bodies and its functions."""
    parts = [model.graph, *(function.graph for function in model.functions)]
    return [node for part in parts for graph in graphs(part) for node in graph.nodes]


def names(model: gd.Model) -> set[str]:
    return {node.op_type for node in nodes(model)}


def test_models_are_made_of_at_least_150_operators() -> None:
    deterministic = {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
    assert len(verify.OPERATORS) == len(set(verify.OPERATORS)) >= 150
    assert not deterministic & set(verify.OPERATORS)
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
    assert set(verify.OPERATORS) <= known


def opsets_of(name: str) -> tuple[int, ...]:
    return tuple(opset for opset in (*OPSETS, 28) if _known((name,), opset))


@pytest.mark.parametrize("name", RECIPES)
def test_every_call_of_an_operator_is_valid(name: str) -> None:
    examples = 6 if settings.default.max_examples < 100 else 100
    found = seen(strict((name,), 1, opsets_of(name)), examples)
    assert found
    for model in found:
        assert name in names(model)
        onnx.checker.check_model(model.to_proto(), full_check=True)


@settings(QUICK, max_examples=settings.default.max_examples * 3, phases=[Phase.generate])
@given(strict((*RECIPES, *FLOW), 6))
def test_every_program_is_valid(model: gd.Model) -> None:
    note(str(model))
    onnx.checker.check_model(model.to_proto(), full_check=True)


def test_programs_have_all_that_models_have() -> None:
    traits: Counter[str] = Counter()
    dtypes: set[gd.DType] = set()
    opsets = set()
    operators: set[str] = set()
    for model in seen(verify.models(runnable=False), 500):
        opsets.add(model.opset)
        operators |= names(model)
        users = Counter(value for node in model.nodes for value in set(node.inputs))
        for node in nodes(model):
            kinds = [value.type for value in (*node.inputs, *node.outputs) if value is not None]
            dtypes |= {kind.dtype for kind in kinds if isinstance(kind, TensorType)}
        traits.update(
            name
            for name, holds in {
                "several outputs": len(model.outputs) > 1,
                "a shared value": any(count > 1 and value is not None and value.node for value, count in users.items()),
                "a constant": any(v is not None and v.array is not None for node in model.nodes for v in node.inputs),
                "broadcasting": any(_broadcasts(node) for node in nodes(model)),
                "a named dimension": any(type(d) is gd.Dim for t in model.inputs for d in getattr(t.type, "shape", ())),
                "a function": bool(model.functions),
                "several nodes": len(model.nodes) > 3,
                "a captured value": any(body.captures for node in model.nodes for body in node.bodies),
                **{name: name in names(model) for name in ("If", "Loop", "Scan")},
            }.items()
            if holds
        )
    assert all(traits[name] >= 3 for name in traits) and len(traits) == 11, traits
    assert traits["a shared value"] >= 12
    assert len(dtypes) >= 14
    assert opsets == set(OPSETS)
    assert len(operators) > 130


def _broadcasts(node: Any) -> bool:
    shapes = [getattr(value.type, "shape", None) for value in node.inputs if value is not None]
    return node.op_type in elementwise.RECIPES and len(set(shapes)) > 1


def test_runnable_models_run() -> None:
    count = 40 if settings.default.max_examples < 100 else 500
    outcomes: Counter[str] = Counter()

    @settings(QUICK, max_examples=count)
    @given(
        verify.models().flatmap(lambda model: verify.feeds(model, without="empty").map(lambda feeds: (model, feeds)))
    )
    def runs(pair: tuple[gd.Model, dict[str, Any]]) -> None:
        model, feeds = pair
        outcome = verify.run(model, feeds, "unoptimised")
        outcomes["runs" if isinstance(outcome, dict) else str(outcome)] += 1

    runs()
    assert outcomes["runs"] >= 0.97 * sum(outcomes.values()), outcomes


FEW = ["Identity", "Add", "Softmax", "Conv", "Exp", "Log"]


@pytest.mark.parametrize(
    "condition, text",
    [
        pytest.param(lambda m: "Conv" in names(m), "Conv float32[1, 1, 1] float32[1, 1, 1]", marks=pytest.mark.full),
        (lambda m: len(m.nodes) == 2, "Identity float32[()], Identity float32[()]"),
        (lambda m: {"Exp", "Log"} <= names(m), "Exp float32[()], Log float32[()]"),
        (lambda m: "Exp" in names(m) and m.opset == 17, "Exp float32[()]"),
        pytest.param(
            lambda m: any(gd.int64 is t.dtype for t in m.outputs), "Identity int64[()]", marks=pytest.mark.full
        ),
        # an Identity is simpler, but would need a larger rank instead of another operator, a trade that is not tried
        (
            lambda m: any(len(t.shape) == 3 for t in m.outputs),
            "Identity float32[1, 1, 1] or Conv float32[1, 1, 1] float32[1, 1, 1]",
        ),
    ],
)
def test_what_is_found_is_the_smallest(condition: Callable[[gd.Model], bool], text: str) -> None:
    model = find(verify.models(FEW), condition, settings=settings(QUICK, max_examples=400))
    shown = [f"{node.op_type} {' '.join(repr(value.type) for value in node.inputs)}" for node in model.nodes]
    assert ", ".join(sorted(shown)) in text.split(" or ")
    assert model.opset in (21, 17) and not model.functions


def test_a_branch_shrinks_to_few_nodes() -> None:
    model = find(verify.models([*FEW, "If"]), lambda m: "If" in names(m), settings=settings(QUICK, max_examples=400))
    (branch,) = model.nodes
    assert sum(len(body.nodes) for body in branch.bodies) <= 1


def test_dtypes_operators_and_opsets_can_be_chosen() -> None:
    chosen = verify.models(["Add", "Mul", "Neg"], dtypes=[gd.float64, np_int32], opsets=[17, 18], largest=3)
    for model in seen(chosen, 40):
        assert names(model) <= {"Add", "Mul", "Neg"} and model.opset in (17, 18) and len(model.nodes) <= 3
        assert {value.type.dtype for node in model.nodes for value in node.outputs} <= {gd.float64, gd.int32}


np_int32 = "int32"


@pytest.mark.parametrize(
    "operators, opsets, problem",
    [
        (["Sofmax"], None, "no models are made of 'Sofmax'; did you mean 'Softmax'?"),
        (["RandomNormal"], None, "no models are made of 'RandomNormal'"),
        (["Gelu"], [13], "none of these operators exists at one of these opsets"),
    ],
)
def test_what_no_models_are_made_of_is_refused(operators: list[str], opsets: Any, problem: str) -> None:
    with pytest.raises(gd.SignatureError) as caught:
        verify.models(operators, opsets=opsets)
    assert str(caught.value).startswith(problem)
