"""Hints for RNN, GRU and LSTM, whose weights hang together by the hidden size, the gates and the directions."""

from ..calls import Call, Hint, Shape

_DIRECTIONS = ("forward", "reverse", "bidirectional")

_PLAIN = ("Tanh", "Sigmoid", "Relu", "Softsign")
"""Activations without parameters."""


def _recurrent(gates: int, activations: int) -> Hint:
    """What has so many gates, and so many activations in each direction."""

    def hint(call: Call) -> None:
        choices = call.choices
        weights, repeated = _rank_3(call, 1), _rank_3(call, 2)
        known = next((shape[0] for shape in (weights, repeated) if shape is not None), None)
        direction = call.attribute("direction", lambda: choices.pick(_DIRECTIONS[:2] if known == 1 else _DIRECTIONS))
        both = 2 if direction == "bidirectional" else 1
        layout = call.attribute("layout", lambda: choices.below(2)) or 0
        hidden = call.attributes.get("hidden_size")
        if hidden is None:
            hidden = repeated[2] if repeated else weights[1] // gates if weights else 1 + choices.below(3)
        call.attribute("hidden_size", lambda: hidden)
        size = weights[2] if weights else 1 + choices.below(3)
        length, batch = 1 + choices.below(3), 1 + choices.below(2)
        given = call.shape(0, (batch, length, size) if layout else (length, batch, size))
        if len(given) == 3:
            batch, size = given[1 - layout], given[2]
        call.form((both, gates * hidden, size), "W")
        call.form((both, gates * hidden, hidden), "R")
        call.form((both, 2 * gates * hidden), "B")
        call.form((batch,), "sequence_lens")
        call.form((batch, both, hidden) if layout else (both, batch, hidden), "initial_h", "initial_c")
        call.form((both, 3 * hidden), "P")
        call.attribute("clip", lambda: choices.pick([0.5, 2.0]))
        call.attribute("activations", lambda: tuple(choices.pick(_PLAIN) for _ in range(both * activations)))
        call.wanted -= {"activation_alpha", "activation_beta"}  # parameters, which none of these has
        for name in ("linear_before_reset", "input_forget", "output_sequence"):
            call.attribute(name, lambda: choices.below(2))

    return hint


def _rank_3(call: Call, index: int) -> Shape | None:
    """The shape of weights, where it is known and one of weights."""
    shape = call.shapes[index] if index < len(call.shapes) else None
    return shape if shape is not None and len(shape) == 3 else None


HINTS: dict[str, Hint] = {"RNN": _recurrent(1, 1), "GRU": _recurrent(3, 2), "LSTM": _recurrent(4, 3)}
