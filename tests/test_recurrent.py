"""RNN, GRU and LSTM as the refuter computes them, beside ONNX Runtime, and by hand where that is wrong."""

from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op
from graphdsl.errors import RunError
from graphdsl.verify.recurrent import _ACTIVATIONS, recurrent

F = np.float32
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
PER_DIRECTION = {"RNN": 1, "GRU": 2, "LSTM": 3}


def case(name: str, seed: int, direction: str, **attributes: Any) -> tuple[list[np.ndarray | None], dict[str, Any]]:
    """Inputs of random sizes, about half of the optional ones given, and the attributes."""
    random = np.random.default_rng(seed)
    length, batch, size, hidden = random.integers(1, 4, 4).tolist()
    both = 2 if direction == "bidirectional" else 1

    def array(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(F)

    inputs = [array(length, batch, size), array(both, GATES[name] * hidden, size)]
    inputs += [array(both, GATES[name] * hidden, hidden)]
    optional = [
        array(both, 2 * GATES[name] * hidden),
        random.integers(1, length + 1, batch).astype(np.int32),
        array(both, batch, hidden),
        *([array(both, batch, hidden), array(both, 3 * hidden)] if name == "LSTM" else []),
    ]
    given = [item if random.random() < 0.6 else None for item in optional]
    return [*inputs, *given], {"hidden_size": hidden, "direction": direction, **attributes}


def on_the_runtime(name: str, inputs: list[np.ndarray | None], attributes: dict[str, Any]) -> list[np.ndarray]:
    tensors = [
        None if item is None else gd.input(f"x{place}", (gd.float32 if item.dtype == F else gd.int32)[item.shape])
        for place, item in enumerate(inputs)
    ]
    made = getattr(op, name)(*tensors, **attributes, outputs=3 if name == "LSTM" else 2)
    model = gd.build(dict(zip("hlc", made, strict=False)))
    return list(model.run({f"x{p}": item for p, item in enumerate(inputs) if item is not None}).values())


def in_float64(name: str, inputs: list[np.ndarray | None], attributes: dict[str, Any]) -> tuple[np.ndarray, ...]:
    wide = [item if item is None or item.dtype != F else item.astype(np.float64) for item in inputs]
    found = recurrent(name)(*wide, version=21, **attributes)
    assert found is not None
    return found


def same(name: str, inputs: list[np.ndarray | None], attributes: dict[str, Any]) -> None:
    pairs = zip(on_the_runtime(name, inputs, attributes), in_float64(name, inputs, attributes), strict=True)
    for got, own in pairs:
        assert got.shape == own.shape and own.dtype == np.float64
        np.testing.assert_allclose(got, own, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_same_as_on_the_runtime(name: str, direction: str, clip: float | None) -> None:
    for seed in range(6):
        same(name, *case(name, seed, direction, **({} if clip is None else {"clip": clip})))


@pytest.mark.parametrize(("name", "flag"), [("GRU", "linear_before_reset"), ("LSTM", "input_forget")])
def test_flags(name: str, flag: str) -> None:
    for seed in range(6):
        same(name, *case(name, seed, "bidirectional", **{flag: 1}))
    inputs, attributes = case(name, 2, "forward")
    assert not np.allclose(
        in_float64(name, inputs, attributes)[0], in_float64(name, inputs, {**attributes, flag: 1})[0]
    )


@pytest.mark.parametrize("activation", ["Relu", "Softsign", "LeakyRelu", "Elu", "HardSigmoid"])
@pytest.mark.parametrize("name", GATES)
def test_activations_with_the_parameters_of_their_operators(name: str, activation: str) -> None:
    for seed in range(4):
        same(name, *case(name, seed, "bidirectional", activations=[activation] * 2 * PER_DIRECTION[name]))


@pytest.mark.parametrize("name", GATES)
def test_activations_take_their_parameters_in_order(name: str) -> None:
    names = ["Affine", "ScaledTanh", "ThresholdedRelu", "LeakyRelu", "HardSigmoid", "Elu"][: 2 * PER_DIRECTION[name]]
    counts = [len(_ACTIVATIONS[name.lower()][0]) for name in names]
    alphas, betas = np.linspace(0.3, 0.8, sum(c > 0 for c in counts)), np.linspace(0.1, 0.4, sum(c > 1 for c in counts))
    same(
        name,
        *case(
            name,
            1,
            "bidirectional",
            activations=names,
            activation_alpha=alphas.tolist(),
            activation_beta=betas.tolist(),
        ),
    )


def test_the_layout_with_the_batch_first() -> None:
    """ONNX Runtime has no layout but the other one."""
    inputs, attributes = case("LSTM", 3, "bidirectional")
    turned = [
        item if place not in (0, 5, 6) or item is None else item.swapaxes(0, 1) for place, item in enumerate(inputs)
    ]
    y, h, c = in_float64("LSTM", inputs, attributes)
    found = in_float64("LSTM", turned, {**attributes, "layout": 1})
    for one, other in zip(found, (y.transpose(2, 0, 1, 3), h.swapaxes(0, 1), c.swapaxes(0, 1)), strict=True):
        assert np.array_equal(one, other)


def test_parameters_that_the_standard_does_not_know() -> None:
    with pytest.raises(RunError, match="does not say which parameters Affine has where none are given"):
        in_float64("RNN", *case("RNN", 0, "forward", activations=["Affine"]))


def test_a_step_by_hand() -> None:
    x, w, r = np.array([[[2.0]]]), np.array([[[0.5]]]), np.array([[[0.25]]])
    y, h = recurrent("RNN")(x, w, r, np.array([[0.125, 0.0]]), None, np.array([[[4.0]]]), version=21) or ()
    assert y.shape == (1, 1, 1, 1) and h.shape == (1, 1, 1)
    assert y.item() == h.item() == np.tanh(2 * 0.5 + 4 * 0.25 + 0.125)


def test_old_opsets_are_left_to_others() -> None:
    assert recurrent("RNN")(*[np.zeros((1, 1, 1))] * 3, version=1) is None
