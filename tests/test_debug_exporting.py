"""`debug.from_torch`: both exporters, loaded; and what they get wrong without a word, refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import graphdsl as gd
from graphdsl import debug

X = torch.arange(6.0).reshape(2, 3)


class Doubled(nn.Module):
    def forward(self, a: Any, b: Any) -> Any:
        return 2 * a + b


class Scaled(nn.Module):
    def forward(self, a: Any, factor: Any, b: Any) -> Any:
        return a + b * factor.item()


class Nested(nn.Module):
    def forward(self, x: Any, pair: Any = None, times: int = 2, mask: Any = None) -> Any:
        return (x + pair[0] - pair[1]["k"]) * times * (1 if mask is None else mask)


def first_line(error: pytest.ExceptionInfo[Exception]) -> str:
    return str(error.value).partition("\n")[0]


@pytest.mark.parametrize("dynamo", [True, False])
def test_one_tensor_given_twice_is_two_inputs(dynamo: bool) -> None:
    model = debug.from_torch(Doubled(), (X, X), dynamo=dynamo)
    assert [value.name for value in model.inputs] == ["a", "b"]
    assert np.array_equal(model(X.numpy(), -X.numpy()), X.numpy())


def test_arguments_are_named_by_parameter_and_place() -> None:
    call = {"mask": X > 2, "pair": (X, {"k": X})}
    names = [value.name for value in debug.from_torch(Nested(), X, call).inputs]
    assert names == ["x", "pair_0", "pair_1_k", "mask"]
    # the older exporter makes inputs of numbers, even of defaults
    model = debug.from_torch(Nested(), X, call, dynamo=False)
    assert [value.name for value in model.inputs] == ["x", "pair_0", "pair_1_k", "times", "mask"]


def test_numbers_that_a_call_leaves_out_are_fed_too() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Any, scale: float = 2.0, flag: bool = True) -> Any:
            return x * scale if flag else x

    model = debug.from_torch(Scaled(), X, dynamo=False)
    assert [value.name for value in model.inputs] == ["x", "scale"]
    assert debug.align(Scaled(), X, model=model).culprit is None


def test_an_invalid_model_is_the_exporters_fault() -> None:
    class Through(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2, x

    assert debug.from_torch(Through(), X).output_names == ("mul", "x")
    with pytest.raises(gd.ExportError) as error:
        debug.from_torch(Through(), X, input_names=["x"])
    assert first_line(error) == (
        "torch.onnx.export(..., dynamo=True) writes an invalid model of Through: Identity: the output 'x' is made twice"
    )


def test_the_mode_of_every_part_is_restored() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3)))
    net[2].eval()
    model = debug.from_torch(net, X, dynamo=False)
    assert [part.training for part in net.modules()] == [True, True, True, False, False]
    assert "Dropout" not in [node.op_type for node in model.nodes]
    with pytest.raises(gd.ExportError):
        debug.from_torch(net, torch.ones(2, 7), dynamo=False)
    assert [part.training for part in net.modules()] == [True, True, True, False, False]


def test_weights_beside_the_model_are_read() -> None:
    net = nn.Linear(64, 64)
    model = debug.from_torch(net, torch.ones(1, 64))
    assert model.opset == 20
    (weight,) = [array for array in gd.weights_of(model).values() if array.shape == (64, 64)]
    assert np.array_equal(weight, net.weight.detach().numpy())


def test_an_argument_that_became_a_constant_is_refused() -> None:
    with pytest.raises(gd.ExportError) as error:
        debug.from_torch(Scaled(), (X, torch.tensor(2.0), X), dynamo=False)
    assert first_line(error) == (
        "argument 'factor' of Scaled is not an input of the model, though torch's result depends on it: its value was "
        "baked in. Keep it a tensor (.item(), int() and float() freeze it), or pass it as a Python number"
    )
    assert "test_debug_exporting.py" in str(error.value)


def test_the_check_can_be_left_out() -> None:
    model = debug.from_torch(Scaled(), (X, torch.tensor(2.0), X), dynamo=False, check=False)
    assert [value.name for value in model.inputs] == ["a", "b"]


def test_an_argument_that_is_baked_in_at_one_of_its_uses_is_refused() -> None:
    class Partly(nn.Module):
        def forward(self, a: Any, b: Any) -> Any:
            return a * b + float(b)

    with pytest.raises(gd.ExportError) as error:
        debug.from_torch(Partly(), (X, torch.tensor(2.0)), dynamo=False)
    assert first_line(error) == (
        "argument 'b' of Partly is partly baked into the model: on the example the outputs agree with torch's, with "
        "this argument varied they are off by 0.034. Look for .item(), int(), float() or an if on it"
    )


def test_a_branch_on_a_value_is_refused() -> None:
    class Branching(nn.Module):
        def forward(self, x: Any, flag: Any) -> Any:
            return x * 2 if flag == 1 else x * 3

    with pytest.raises(gd.ExportError, match="argument 'flag' of Branching is not an input of the model"):
        debug.from_torch(Branching(), (X, torch.tensor(1)), dynamo=False)


@pytest.mark.parametrize("x", [torch.ones(3), torch.rand(2, 3)])
def test_a_branch_on_the_sign_of_the_data_is_refused(x: Any) -> None:
    class Signed(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2 if x.sum() > 0 else x - 1

    with pytest.raises(gd.ExportError, match="argument 'x' of Signed is partly baked into the model"):
        debug.from_torch(Signed(), x, dynamo=False)


def test_an_argument_that_torch_ignores_may_be_dropped() -> None:
    class Ignoring(nn.Module):
        def forward(self, x: Any, unused: Any) -> Any:
            return x * 2

    model = debug.from_torch(Ignoring(), (X, X), dynamo=False)
    assert [value.name for value in model.inputs] == ["x"]


def test_scripted_modules_take_the_older_exporter() -> None:
    scripted = torch.jit.script(nn.Linear(3, 2))
    with pytest.raises(
        gd.ExportError, match=r"only the older exporter takes such modules; write from_torch\(\.\.\., dy"
    ):
        debug.from_torch(scripted, X)
    assert [node.op_type for node in debug.from_torch(scripted, X, dynamo=False).nodes] == ["Gemm"]


def test_a_failing_exporter_is_quoted() -> None:
    class Bessel(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.special.bessel_j0(x)

    with pytest.raises(gd.ExportError) as error:
        debug.from_torch(Bessel(), X, dynamo=False)
    assert first_line(error) == (
        "torch.onnx.export(..., dynamo=False) fails on Bessel: Exporting the operator 'aten::special_bessel_j0' to "
        "ONNX opset version 20 is not supported; try dynamo=True"
    )


def test_a_failing_exporter_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(gd.ExportError):
        debug.from_torch(nn.Bilinear(2, 2, 2), (torch.ones(1, 2), torch.ones(1, 2)), dynamo=False)
    assert capfd.readouterr().out == ""


def test_a_call_that_does_not_fit_is_refused() -> None:
    with pytest.raises(gd.ExportError) as error:
        debug.from_torch(Doubled(), (X,))
    assert first_line(error) == "Doubled cannot be called with these arguments: missing a required argument: 'b'"


def test_transformers_are_exported_part_by_part() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).requires_grad_(False)
    model = debug.from_torch(encoder, torch.ones(1, 2, 8), dynamo=False)
    assert torch.backends.mha.get_fastpath_enabled()
    assert [node.op_type for node in model.nodes].count("LayerNormalization") == 2
