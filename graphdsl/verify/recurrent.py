"""RNN, GRU and LSTM with all that they may have, of which the reference evaluator leaves out most (docs/upstream.md).

ONNX specification, Operators.md: RNN, GRU, LSTM, since opset 7. What comes after the end of a sequence is zero. `clip`
bounds what the gates' activations get; whether it also bounds what the last activation gets, the cell of an LSTM, can
be read either way, and no runtime does that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import RunError

Activation = Callable[[np.ndarray], np.ndarray]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    power = np.exp(-np.abs(x))
    result: np.ndarray = np.where(x >= 0, 1, power) / (1 + power)
    return result


_ACTIVATIONS: dict[str, tuple[tuple[float | None, ...], Callable[..., np.ndarray]]] = {
    "relu": ((), lambda x: np.maximum(x, 0)),
    "tanh": ((), np.tanh),
    "sigmoid": ((), _sigmoid),
    "softsign": ((), lambda x: x / (1 + np.abs(x))),
    "softplus": ((), lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)),
    "leakyrelu": ((0.01,), lambda x, alpha: np.where(x >= 0, x, alpha * x)),
    "thresholdedrelu": ((1.0,), lambda x, alpha: np.where(x >= alpha, x, 0)),
    "elu": ((1.0,), lambda x, alpha: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))),
    "affine": ((None, None), lambda x, alpha, beta: alpha * x + beta),
    "scaledtanh": ((None, None), lambda x, alpha, beta: alpha * np.tanh(beta * x)),
    "hardsigmoid": ((0.2, 0.5), lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1)),
}
"""The activations by their names, with the parameters of the operators that are called so; None where none is."""


def _activations(names: Sequence[str], alphas: Iterable[float], betas: Iterable[float]) -> list[Activation]:
    """Functions by their names; those that take parameters take the next ones of each kind.

    Raises:
        RunError: one needs a parameter that is not given.
    """
    left = [iter(alphas), iter(betas)]
    return [_activation(name, left) for name in names]


def _activation(name: str, left: Sequence[Iterator[float]]) -> Activation:
    usual, function = _ACTIVATIONS[name.lower()]
    parameters = [next(given, default) for given, default in zip(left, usual, strict=False)]
    if None in parameters:
        raise RunError(f"the standard does not say which parameters {name} has where none are given")
    return lambda x: function(x, *parameters)


def _bounded(function: Activation, bound: float | None) -> Activation:
    return function if bound is None else lambda x: function(np.clip(x, -bound, bound))


class _Cell:
    """One direction: its weights, of which those of the gates lie side by side, and its functions."""

    def __init__(self, w: np.ndarray, r: np.ndarray, b: np.ndarray, p: np.ndarray, functions: Sequence[Activation]):
        self.w, self.r, self.p, self.functions = w.T, r.T, p, functions
        self.of_input, self.of_state = np.split(b, 2)

    def rnn(self, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next state of an RNN."""
        return self.functions[0](x @ self.w + self.of_input + h @ self.r + self.of_state), c

    def gru(self, x: np.ndarray, h: np.ndarray, c: np.ndarray, *, linear: bool) -> tuple[np.ndarray, np.ndarray]:
        """The next state of a GRU; `linear` where the state is multiplied before it is reset."""
        f, g = self.functions
        of_x = np.split(x @ self.w + self.of_input, 3, axis=-1)
        of_h = np.split(h @ self.r + self.of_state, 3, axis=-1)
        update, reset = f(of_x[0] + of_h[0]), f(of_x[1] + of_h[1])
        if linear:
            hidden = g(of_x[2] + reset * of_h[2])
        else:
            weights, bias = np.split(self.r, 3, axis=1)[2], np.split(self.of_state, 3)[2]
            hidden = g(of_x[2] + (reset * h) @ weights + bias)
        return (1 - update) * hidden + update * h, c

    def lstm(self, x: np.ndarray, h: np.ndarray, c: np.ndarray, *, coupled: bool) -> tuple[np.ndarray, np.ndarray]:
        """The next state of an LSTM, and of its cell; `coupled` where what is put in is what is forgotten."""
        f, g, last = self.functions
        sums = x @ self.w + self.of_input + h @ self.r + self.of_state
        taken, given, kept, new = np.split(sums, 4, axis=-1)
        p_taken, p_given, p_kept = np.split(self.p, 3)
        taken = f(taken + p_taken * c)
        kept = 1 - taken if coupled else f(kept + p_kept * c)
        cell = kept * c + taken * g(new)
        return f(given + p_given * cell) * last(cell), cell


_DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def recurrent(name: str) -> Callable[..., tuple[np.ndarray, ...] | None]:
    """The function of RNN, GRU or LSTM: all states, the last one, and of LSTM the last one of the cell."""

    def run(*inputs: np.ndarray | None, version: int, **attributes: Any) -> tuple[np.ndarray, ...] | None:
        return None if version < 7 else _run(name, inputs, attributes)

    return run


def _run(name: str, inputs: Sequence[np.ndarray | None], attributes: dict[str, Any]) -> tuple[np.ndarray, ...]:
    x, w, r, b, lengths, h, c, p = (*inputs, *[None] * 8)[:8]
    assert x is not None and w is not None and r is not None
    turned = bool(attributes.get("layout"))
    if turned:
        x, h, c = (None if array is None else array.swapaxes(0, 1) for array in (x, h, c))
    assert x is not None
    steps, batch, _ = x.shape
    directions, hidden = w.shape[0], r.shape[2]
    dtype = np.float64 if x.dtype == np.float64 else np.float32

    def given(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape, dtype) if array is None else array.astype(dtype)

    wide, w, r = (array.astype(dtype) for array in (x, w, r))
    b = given(b, (directions, 2 * _GATES[name] * hidden))
    p = given(p, (directions, 3 * hidden))
    h, c = (given(array, (directions, batch, hidden)) for array in (h, c))
    ends = np.full(batch, steps) if lengths is None else lengths
    names = attributes.get("activations") or _DEFAULTS[name] * directions
    alphas, betas = (attributes.get(f"activation_{kind}", ()) for kind in ("alpha", "beta"))
    functions = _activations(names, alphas, betas)
    each = len(functions) // directions
    functions = [_bounded(f, attributes.get("clip") if i % each < 2 else None) for i, f in enumerate(functions)]
    y = np.zeros((steps, directions, batch, hidden), dtype)
    for d in range(directions):
        cell = _Cell(w[d], r[d], b[d], p[d], functions[d * each : (d + 1) * each])
        backwards = d == 1 or attributes.get("direction") == "reverse"
        for step in range(steps)[:: -1 if backwards else 1]:
            going = (step < ends)[:, None]
            if name == "RNN":
                made = cell.rnn(wide[step], h[d], c[d])
            elif name == "GRU":
                made = cell.gru(wide[step], h[d], c[d], linear=bool(attributes.get("linear_before_reset")))
            else:
                made = cell.lstm(wide[step], h[d], c[d], coupled=bool(attributes.get("input_forget")))
            h[d], c[d] = (np.where(going, new, old) for new, old in zip(made, (h[d], c[d]), strict=True))
            y[step, d] = np.where(going, made[0], 0)
    if turned:
        y, h, c = y.transpose(2, 0, 1, 3), h.swapaxes(0, 1), c.swapaxes(0, 1)
    found = (y, h, c) if name == "LSTM" else (y, h)
    return tuple(array.astype(x.dtype) for array in found)
