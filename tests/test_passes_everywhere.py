"""Every stock pass on every case of ONNX's backend suite, on real architectures and on real models.

Inputs and outputs keep names, order and types. The outputs keep every bit where nodes are moved, merged or dropped;
where sums run in another order they are judged by `verify.equivalent`, against float64.
"""

import functools
import importlib.util
import io
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import backend
import kernels
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from backend import Case, differences, is_precise, on_reference, on_runtime
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from passing import interface
from sharing import sharing
from skimage import data
from workers import Crash, each

import graphdsl as gd
from graphdsl import op, verify

P = gd.passes


def without_names(model: gd.Model) -> gd.Model:
    """A model that takes any number of rows of floats."""
    rows = [t for t in model.inputs if isinstance(t.type, gd.TensorType) and t.dtype.kind == "float"]
    rows = [t for t in rows if t.rank and t._v.default is None]
    return P.free_dimensions(model, {t.name or "": {0: f"rows_{i}"} for i, t in enumerate(rows[:1])})


EXACT: Mapping[str, Callable[[gd.Model], gd.Model]] = {
    function.__name__: function
    for function in (
        P.constants_to_initializers, P.dead_code, P.debug_to_identity, P.drop_identity, P.drop_noops, P.fold_constants,
        P.infer_types, P.initializers_to_constants, P.merge_casts, P.merge_duplicates, P.merge_pads, P.merge_reshapes,
        P.merge_transposes, P.unused_functions, P.unused_initializers, P.unused_opsets,
    )
} | {"simplify, exact": functools.partial(P.simplify, exact=True)}  # fmt: skip
ROUNDED: Mapping[str, Callable[[gd.Model], gd.Model]] = {
    function.__name__: function
    for function in (
        P.fuse_batch_norm,
        P.fuse_conv_scale,
        P.fuse_gelu,
        P.fuse_layer_norm,
        P.fuse_matmul_add,
        P.simplify,
    )
}
OTHERS = {"to_float16": P.to_float16, "free_dimensions": without_names}
"""Those that change types: how near the outputs are depends on the dtype; the sizes that are declared are others."""

UNFIT = {
    "test_affine_grid_2d_expanded": "the runtime refuses its Range, whose limit has an axis, once the shape is known",
    "test_affine_grid_3d_expanded": "the same",
    "test_affine_grid_2d_align_corners_expanded": "the same",
    "test_affine_grid_3d_align_corners_expanded": "the same",
    "test_flexattention_score_mod": "the reference evaluator hides from a body of FlexAttention what is around it",
    "test_flexattention_soft_cap": "the same",
    "test_flexattention_prob_mod": "the same",
    "test_flexattention_causal_mask": "the same",
}
"""Cases that a pass rightly changes so that what runs them, and is wrong, notices."""


def test_every_pass_is_here() -> None:
    passes = {name for name in P.__all__ if callable(getattr(P, name))}
    elsewhere = {"fix_dimensions", "freeze_defaults"}  # which need a named dimension, and take inputs away
    assert passes - {*EXACT, *ROUNDED, *OTHERS} == elsewhere


# Cases


def copied(feeds: list[Any]) -> list[Any]:
    """Feeds that may be written over, as the runtime does (docs/upstream.md)."""
    return [feed.copy() if isinstance(feed, np.ndarray) else feed for feed in feeds]


def problems(case: Case) -> tuple[list[str], list[str]]:
    """What is wrong with a case after each pass; and the passes that changed it."""
    model, wrong, changing = gd.load(case.model), [], []
    engine: Callable[..., Any] | None = on_runtime
    try:
        expected = on_runtime(case.model, copied(case.feeds))
    except Exception:
        try:
            engine, expected = on_reference, on_reference(case.model, copied(case.feeds))
        except Exception:
            engine, expected = None, []
    for name, function in {**EXACT, **ROUNDED, **OTHERS}.items():
        try:
            after = function(model)
            if after is model:
                continue
            changing.append(name)
            if name != "free_dimensions" and interface(after) != interface(model):
                wrong.append(f"{name}: another interface")
            why = _unlike(case, engine, expected, name, model, after)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if why:
            wrong.append(f"{name}: {why}")
    return wrong, changing


def _unlike(case: Case, engine: Any, expected: list[Any], name: str, before: gd.Model, after: gd.Model) -> str:
    if engine is None:
        return ""
    found = engine(after.to_proto(), copied(case.feeds))
    if name == "to_float16" or "bernoulli" in case.name:
        return _other_types(expected, found)
    if name in EXACT or name == "free_dimensions":
        wrong = differences(expected, found)
        if wrong and engine is on_runtime:
            sides = [on_runtime(kernels.steady(side).to_proto(), copied(case.feeds)) for side in (before, after)]
            wrong = differences(*sides)
        return "; ".join(wrong)
    if not differences(expected, found):
        return ""
    feeds = dict(
        zip([value.name or "" for value in before.inputs if value._v.default is None], case.feeds, strict=False)
    )
    try:
        verify.equivalent(before, after, feeds=feeds)
    except verify.Refuted as refuted:
        return str(refuted)
    return ""


def _other_types(expected: list[Any], found: list[Any]) -> str:
    """Whether outputs have another dtype or shape."""
    for one, other in zip(expected, found, strict=True):
        if isinstance(one, np.ndarray) and (one.dtype, one.shape) != (other.dtype, other.shape):
            return f"{other.dtype}{list(other.shape)}, not {one.dtype}{list(one.shape)}"
    return ""


def judged(cases: list[Case]) -> Counter[str]:
    """How many cases each pass changes, all of them for the better."""
    changed: Counter[str] = Counter()
    cases = [case for case in cases if case.name not in UNFIT]
    wrong = {}
    for place, result in each(problems, cases):
        if isinstance(result, Crash):
            wrong[cases[place].name] = [f"the process died: {result.reason}"]
            continue
        changed.update(result[1])
        if result[0]:
            wrong[cases[place].name] = result[0]
    assert wrong == {}
    return changed


def test_a_sample_of_onnx_s_cases() -> None:
    changed = judged(backend.node_cases()[::47])
    assert changed["simplify"] > 3


@pytest.mark.full
def test_all_of_onnx_s_cases(capsys: pytest.CaptureFixture[str]) -> None:
    changed = judged([*backend.node_cases(), *backend.stored_cases()])
    with capsys.disabled():
        print(f"\ncases that each pass changes: {dict(changed.most_common())}")


def test_the_runtime_writes_over_what_it_is_given() -> None:
    """docs/upstream.md: when this fails, ONNX Runtime is mended, and `copied` may go."""
    x, *others = [gd.input(name, gd.float32[(2, 3) if name == "x" else 3]) for name in ("x", "s", "t", "mean", "var")]
    halves = [tensor.astype(gd.float16) for tensor in (x, *others)]
    outputs = op.BatchNormalization(*halves, training_mode=1, outputs=3)
    feeds = [np.float32([[1, 2, 3], [5, 6, 7]]), *[np.ones(3, np.float32) for _ in others]]
    on_runtime(gd.build(outputs, inputs=[x, *others]).to_proto(), feeds)
    assert feeds[3].tolist() != [1, 1, 1]


# Rules and random models


@pytest.mark.parametrize("name", ["merge_transposes", "merge_reshapes", "erf_gelu"])
def test_some_rules_are_not_refuted(name: str) -> None:
    assert verify.rule(getattr(P.rules, name), examples=20).judged


@pytest.mark.full
@pytest.mark.parametrize("name", P.rules.__all__)
def test_no_rule_is_refuted(name: str, seed: int) -> None:
    assert verify.rule(getattr(P.rules, name), examples=300, seed=seed).judged


def judge_random(model: gd.Model, feeds: Mapping[str, Any]) -> None:
    """A model made at random, after each pass, gives the same bits, or what is as near to float64."""
    assume(not kernels.from_memory(model, feeds) and not kernels.narrows_functions(model))
    expected = verify.run(model, feeds, "unoptimised")
    assume(isinstance(expected, dict))
    for name, function in {**EXACT, **ROUNDED}.items():
        after = function(model)
        if after is model:
            continue
        for (name_before, kind), (name_after, other) in zip(interface(model), interface(after), strict=True):
            assert name_before == name_after, name
            # a size that is not known may become known, where nothing declares it
            assert is_precise(onnx.TypeProto.FromString(other), onnx.TypeProto.FromString(kind)), name
        if name in EXACT:
            found = verify.run(after, feeds, "unoptimised")
            assert isinstance(found, dict), (name, found)
            if differences(list(expected.values()), list(found.values())):
                assume(not kernels.errs(model, feeds))
                sides = [verify.run(kernels.steady(side), feeds, "unoptimised") for side in (model, after)]
                assert differences(*(list(side.values()) for side in sides)) == [], name
        else:
            verify.equivalent(model, after, feeds=dict(feeds))


@settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_some_random_models(data: st.DataObject) -> None:
    model = data.draw(verify.models())
    judge_random(model, data.draw(verify.feeds(model)))


@pytest.mark.full
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_many_random_models(data: st.DataObject) -> None:
    model = data.draw(verify.models())
    judge_random(model, data.draw(verify.feeds(model)))


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_some_functions_called_with_several_types(data: st.DataObject) -> None:
    model = data.draw(sharing())
    judge_random(model, data.draw(verify.feeds(model)))


@pytest.mark.full
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_many_functions_called_with_several_types(data: st.DataObject) -> None:
    model = data.draw(sharing())
    judge_random(model, data.draw(verify.feeds(model)))


# Real architectures and real models


def session(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    native = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = native.run(None, {name: array.copy() for name, array in feeds.items()})
    return found


def judged_model(
    model: gd.Model,
    feeds: Mapping[str, np.ndarray],
    *,
    truth: np.ndarray | None = None,
    half: float | None = 0.05,
) -> Counter[str]:
    """How many nodes each pass leaves, none of which changes what the model gives.

    `truth` is its first output in float64, against which both sides are judged, where it is known. `half` is how far
    float16 may be away, relative to the largest output; None where the model leaves its range.
    """
    left: Counter[str] = Counter()
    expected = session(model.to_proto(), feeds)
    for name, function in {**EXACT, **ROUNDED, **OTHERS}.items():
        after = function(model)
        left[name] = len(after.nodes)
        if after is model:
            continue
        assert name == "free_dimensions" or interface(after) == interface(model), name
        found = session(after.to_proto(), feeds)
        if name in EXACT or name == "free_dimensions":
            assert differences(expected, found) == [], name
            continue
        scale = [max(float(np.abs(one).max()), 1e-3) for one in expected]
        if name == "to_float16" and half is None:
            continue
        if truth is not None and name != "to_float16":
            errors = [float(np.abs(outputs[0] - truth).max()) for outputs in (expected, found)]
            assert errors[1] <= 4 * errors[0] + 16 * np.spacing(np.float32(np.abs(truth).max())), (name, errors)
        limit = half if name == "to_float16" and half is not None else 1e-4
        far = [float(np.abs(a - b).max()) / s for a, b, s in zip(expected, found, scale, strict=True)]
        assert max(far) < limit, (name, far)
    return left


LIGHT = sorted((backend.FOLDER / "light").glob("*.onnx"))
SMALL = [path for path in LIGHT if path.stem in ("light_squeezenet", "light_shufflenet")]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_small_architectures(path: Path) -> None:
    judge_architecture(path)


@pytest.mark.full
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_all_architectures(path: Path) -> None:
    judge_architecture(path)


def judge_architecture(path: Path) -> None:
    """The models of the onnx package have weights that are made by ConstantOfShape, so the outputs say little."""
    model = gd.load(path)
    rng = np.random.default_rng(0)
    feeds = {
        value.name or "": rng.standard_normal(value.type.shape).astype(np.float32)
        for value in model.graph.inputs
        if value.default is None and isinstance(value.type, gd.TensorType)
    }
    left = judged_model(model, feeds, half=None)
    assert left["simplify"] <= len(model.nodes)  # weights that are inputs too can be no other


class Block(torch.nn.Module):
    """A residual block of convolutions, with normalisation, dropout and a permutation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = torch.nn.BatchNorm2d(8)
        self.up = torch.nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.norm2 = torch.nn.BatchNorm2d(8)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.norm1(self.conv1(x)))
        h = torch.relu(self.norm2(self.up(h)))
        return self.head(self.drop(h.permute(0, 2, 3, 1).mean(dim=(1, 2))))


class Recurrent(torch.nn.Module):
    """An LSTM of both directions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(6, 8, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Attention(torch.nn.Module):
    """A layer of a transformer with GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, activation="gelu", batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


NETS: Mapping[str, tuple[type[torch.nn.Module], tuple[int, ...]]] = {
    "conv": (Block, (2, 3, 8, 8)),
    "lstm": (Recurrent, (2, 7, 6)),
    "transformer": (Attention, (2, 5, 16)),
}


class Net(NamedTuple):
    """A small net of torch as a proto, an input, and the output in float64."""

    proto: onnx.ModelProto
    x: np.ndarray
    truth: np.ndarray


def exported(kind: str, *, dynamo: bool) -> Net:
    """A small net, by one of torch's exporters."""
    torch.manual_seed(0)
    make, shape = NETS[kind]
    module = make()
    for norm in [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        norm.running_mean = torch.randn_like(norm.running_mean)
        norm.running_var = torch.rand_like(norm.running_var) + 0.5
    module.eval()
    x = torch.randn(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(module, (x,), dynamo=True, optimize=False, verbose=False)
            assert program is not None
            proto = program.model_proto
        else:
            written = io.BytesIO()
            torch.onnx.export(module, (x,), written, dynamo=False, do_constant_folding=False, opset_version=17)
            proto = onnx.load_from_string(written.getvalue())
    with torch.no_grad():
        return Net(proto, x.numpy(), module.double()(x.double()).numpy())


@pytest.mark.parametrize("kind", NETS)
def test_nets_of_torch_s_old_exporter(kind: str) -> None:
    judge_net(kind, dynamo=False)


@pytest.mark.full
@pytest.mark.parametrize("kind", NETS)
def test_nets_of_torch_s_new_exporter(kind: str) -> None:
    judge_net(kind, dynamo=True)


def judge_net(kind: str, *, dynamo: bool) -> None:
    net = exported(kind, dynamo=dynamo)
    model = gd.load(net.proto)
    left = judged_model(model, {model.inputs[0].name or "": net.x}, truth=net.truth)
    assert left["simplify"] <= left["simplify, exact"] <= len(model.nodes)
    if kind == "conv":
        assert not any(node.op_type == "BatchNormalization" for node in P.simplify(model).nodes)


OCR = {"det": (96, 96), "cls": (48, 192), "rec": (48, 160)}


@pytest.mark.full
@pytest.mark.parametrize("kind", OCR)
def test_models_that_read_text(kind: str) -> None:
    package = importlib.util.find_spec("rapidocr_onnxruntime")
    if package is None or package.origin is None:
        pytest.skip("rapidocr_onnxruntime is not installed")
    (path,) = (Path(package.origin).parent / "models").glob(f"*_{kind}_infer.onnx")
    model = gd.load(path)
    height, width = OCR[kind]
    page = data.page()[:height, :width].astype(np.float32) / 127.5 - 1
    x = np.stack([page] * 3)[None]
    left = judged_model(model, {model.inputs[0].name or "": x}, half=0.1)
    assert left["simplify"] < len(model.nodes) / 2
