"""Named dimensions in use: as sizes that a model computes when it runs, and through whole programs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sized import Sizes, check, run
from twins import check_type

import graphdsl as gd
from graphdsl import op

IMAGE = gd.float32["n", 2, "h", "w"]
BIG_IMAGES = st.fixed_dictionaries({"n": st.integers(1, 2), "h": st.integers(7, 20), "w": st.integers(7, 20)})


@given(st.lists(st.sampled_from(["conv", "pool", "resize", "pad", "crop"]), min_size=1, max_size=6), BIG_IMAGES)
def test_a_network_of_layers(layers: list[str], sizes: Sizes) -> None:
    weight = np.ones((2, 2, 3, 3), np.float32)

    def network(x: Any) -> list[Any]:
        made = []
        for layer in layers:
            match layer:
                case "conv":
                    x = op.Conv(x, weight, pads=[1] * 4, strides=[2, 1])
                case "pool":
                    x = op.MaxPool(x, kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0], ceil_mode=1)
                case "resize":
                    x = op.Resize(x, None, np.float32([1, 1, 1.5, 2]))
                case "pad":
                    x = op.Pad(x, [0, 0, 2, 1, 0, 0, 1, 0])
                case "crop":
                    x = x[:, :, 1:-1, 2:]
            made.append(x)
        return [*made, op.Flatten(x), op.Reshape(x, [0, -1])]

    check(network, IMAGE, sizes=sizes, known="crop" not in layers)  # else expressions grow too long in the end


SIZES = st.fixed_dictionaries({"n": st.integers(1, 6), "m": st.integers(1, 6)})


def changed(x: Any, draw: Callable[[Any], Any]) -> Any:
    """A matrix with another shape, as a program would change it."""
    rows, columns = x.shape
    small = st.integers(-3, 4)
    match draw(st.integers(0, 12)):
        case 0:
            return op.Concat(x, x, axis=draw(st.integers(0, 1)))
        case 1:
            return x[draw(small) :]
        case 2:
            return x[:, : draw(small)]
        case 3:
            return x[:: draw(st.sampled_from([-2, -1, 2]))]
        case 4:
            return x.T
        case 5:
            return x.reshape(columns, rows)
        case 6:
            return x.reshape(-1, 1)
        case 7:
            return x.reshape(rows * columns, -1).T
        case 8:
            return op.Tile(x, [1, rows])
        case 9:
            return x[: rows // 2 + 1]
        case 10:
            return op.Pad(x, [0, 1, draw(st.integers(0, 2)), 0])
        case 11:
            return x @ x.T
        case _:
            return op.Expand(op.ReduceSum(x, [0]), [columns + 1, columns])


@st.composite
def programs(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """An input, and what becomes of it step by step."""
    x = gd.input("x", gd.float32["n", "m"])
    made = [x]
    for _ in range(draw(st.integers(1, 7))):
        try:
            made.append(changed(made[-1], draw))
        except gd.GraphError:  # too long an expression, or -1 beside a size of 0
            break
    return x, made


@given(programs(), SIZES)
def test_programs(program: tuple[Any, list[Any]], sizes: Sizes) -> None:
    x, made = program
    arrays = run(made, [x], sizes)
    assume(arrays is not None and all(array.size for array in arrays))  # beside a size of 0, -1 has no meaning
    for tensor, array in zip(made, arrays or (), strict=True):
        check_type(tensor.type, array, dict(sizes))


def operators(*tensors: Any) -> list[str]:
    """The operators of the model that computes the tensors."""
    return [node.op_type for node in gd.build(list(tensors)).nodes]


X = gd.float32["n", 3, "m"]

USES: dict[str, tuple[Callable[[Any], Any], list[str], Any]] = {
    "a list": (lambda x: op.Reshape(x, [x.shape[0], -1]), ["Shape", "Concat", "Reshape"], ("n", "3*m")),
    "a tuple": (lambda x: op.Reshape(x, (x.shape[2], 3, -1)), ["Shape", "Concat", "Reshape"], ("m", 3, "n")),
    "a whole shape": (lambda x: op.Expand(np.float32(0), x.shape), ["Shape", "Expand"], ("n", 3, "m")),
    "a part of a shape": (lambda x: op.ConstantOfShape(x.shape[1:]), ["Shape", "Concat", "ConstantOfShape"], (3, "m")),
    "a list of one": (lambda x: op.TopK(x, [x.shape[2]])[0], ["Shape", "TopK"], ("n", 3, "m")),
    "a scalar": (lambda x: op.Range(0, x.shape[0], 1), ["Shape", "Squeeze", "Range"], ("n",)),
    "a sum": (
        lambda x: op.ConstantOfShape([x.shape[0] + 2 * x.shape[2]]),
        ["Shape", "Shape", "Mul", "Add", "ConstantOfShape"],
        ("2*m + n",),
    ),
    "a quotient": (lambda x: op.ConstantOfShape([x.shape[0] // 2]), ["Shape", "Div", "ConstantOfShape"], ("n//2",)),
    "a quotient of what may be negative": (
        lambda x: op.ConstantOfShape([(x.shape[0] - 3) // 2 + 4]),
        ["Shape", "Sub", "Mod", "Sub", "Div", "Add", "ConstantOfShape"],
        None,
    ),
    "a remainder": (
        lambda x: op.ConstantOfShape([x.shape[0] % 2]),
        ["Shape", "Div", "Mul", "Sub", "ConstantOfShape"],
        ("n - 2*(n//2)",),
    ),
    "a remainder of what may be negative": (
        lambda x: op.ConstantOfShape([(x.shape[0] - 3) % 4]),
        ["Shape", "Sub", "Mod", "ConstantOfShape"],
        ("n - 4*((n + 1)//4) + 1",),
    ),
    "a bound": (lambda x: x[: x.shape[0] // 2], ["Shape", "Div", "Slice"], ("n//2", 3, "m")),
    "an operand": (lambda x: x * x.shape[0], ["Shape", "Squeeze", "Cast", "Mul"], ("n", 3, "m")),
    "an input of an operator": (lambda x: op.Add(x, x.shape[2]), ["Shape", "Squeeze", "Cast", "Add"], ("n", 3, "m")),
    "a tensor": (lambda x: op.Cast(x.shape[0], to=gd.float32), ["Shape", "Squeeze", "Cast"], ()),
    "beside tensors": (
        lambda x: op.Reshape(x, [op.Shape(x)[0], 3, x.shape[2]]),
        ["Shape", "Gather", "Unsqueeze", "Shape", "Concat", "Reshape"],
        ("n", 3, "m"),
    ),
    "beside a tensor of another integer dtype": (
        lambda x: op.Reshape(x, [op.Cast(op.Shape(x)[0], to=gd.int32), -1]),
        ["Shape", "Gather", "Cast", "Unsqueeze", "Cast", "Concat", "Reshape"],
        ("n", "3*m"),
    ),
    "floats": (
        lambda x: op.Resize(x, None, [1.0, 1.0, op.Cast(x.shape[0], to=gd.float32)]),
        ["Shape", "Squeeze", "Cast", "Unsqueeze", "Concat", "Resize"],
        ("n", 3, None),
    ),
}


@pytest.mark.parametrize("what", USES)
def test_a_dimension_is_used_as(what: str) -> None:
    call, expected, shape = USES[what]
    tensor = call(gd.input("x", X))
    assert operators(tensor) == expected
    assert shape is None or tensor.shape == shape
    for n, m in [(4, 3), (5, 2), (1, 1)]:
        check(call, X, sizes={"n": n, "m": m}, known=False)


@pytest.mark.parametrize("n", range(8))
def test_quotients_of_sizes_are_rounded_down(n: int) -> None:
    x = gd.input("x", gd.float32["n"])
    size = x.shape[0]
    tensors = [
        op.Identity(part) for part in ((size - 5) // 3, (size - 5) % 3, size // -2, (2 - size) % 3, 7 % (size + 1))
    ]
    arrays = run(tensors, [x], {"n": n})
    assert arrays is not None
    assert [int(array) for array in arrays] == [(n - 5) // 3, (n - 5) % 3, n // -2, (2 - n) % 3, 7 % (n + 1)]


def test_older_opsets_compute_sizes_their_way() -> None:
    x = gd.input("x", X)
    with gd.opset(12):
        y = op.Reshape(x, [x.shape[0], x.shape[2] * 3])
        z = op.Range(0, x.shape[0], 1)
    assert operators(y) == ["Shape", "Gather", "Gather", "Mul", "Concat", "Reshape"]
    assert operators(z) == ["Shape", "Gather", "Squeeze", "Range"]
    check(lambda x: op.Reshape(x, [x.shape[0], x.shape[2] * 3]), X, sizes={"n": 2, "m": 5}, opset=12)


def test_what_is_computed_of_a_size_is_computed_once() -> None:
    x = gd.input("x", X)
    y = op.Reshape(x, [x.shape[0] * 2, -1])
    z = x[: x.shape[0] * 2 // 3] + op.ConstantOfShape([x.shape[0] * 2 // 3, 1, 1])
    assert operators(y, z).count("Shape") == 1 and operators(y, z).count("Mul") == 1
    assert operators(y, z).count("Div") == 1


def test_a_sum_of_many_sums_is_computed_in_as_many_steps() -> None:
    x = gd.input("x", X)
    size = x.shape[0]
    for _ in range(40):
        size = size + size
    assert operators(op.Identity(size)) == ["Shape", *["Add"] * 40, "Squeeze", "Identity"]


def test_a_branch_uses_the_sizes_computed_around_it() -> None:
    x = gd.input("x", X)
    flat = op.Reshape(x, [x.shape[0], -1])
    y = op.If(
        gd.input("c", gd.bool[()]),
        then_branch=lambda: op.Reshape(x, [x.shape[0], -1]),
        else_branch=lambda: op.Reshape(x, [x.shape[0], x.shape[2] * 3]),
    )
    graph = gd.build([flat, y]).graph
    bodies = [body for node in graph.nodes for body in node.bodies]
    assert [[node.op_type for node in body.nodes].count("Shape") for body in bodies] == [1, 0]  # else, then
    assert y.shape == ("n", "3*m")


def test_what_a_branch_computes_stays_in_it() -> None:
    x = gd.input("x", X)
    y = op.If(
        gd.input("c", gd.bool[()]),
        then_branch=lambda: op.ConstantOfShape([x.shape[0]]),
        else_branch=lambda: op.ConstantOfShape([x.shape[0]]),
    )
    z = op.ConstantOfShape([x.shape[0], 1])
    model = gd.build([y, z])
    bodies = [body for node in model.nodes for body in node.bodies]
    assert [[node.op_type for node in body.nodes] for body in bodies] == [["Shape", "ConstantOfShape"]] * 2
    assert [node.op_type for node in model.nodes] == ["If", "Shape", "Concat", "ConstantOfShape"]
    assert [array.shape for array in model(x=np.zeros((4, 3, 2), np.float32), c=np.array(True))] == [(4,), (4, 1)]


def test_a_size_of_another_model_s_tensor_is_refused() -> None:
    kept = []

    @gd.model
    def first(x: gd.float32["n"]):  # type: ignore[valid-type, no-untyped-def, name-defined]
        kept.append(x.shape[0])
        return -x

    with pytest.raises(gd.ScopeError, match="the tensor 'x' made in model 'first' cannot be used in model 'second'"):

        @gd.model
        def second(y: gd.float32["m"]):  # type: ignore[valid-type, no-untyped-def, name-defined]
            return op.ConstantOfShape([kept[0]])


E = gd.SignatureError


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: op.Reshape(x, [None, -1]), E, "Reshape: input 'shape': element 0 of the list is None, an unknown "),
        (
            lambda x: op.Reshape(x, [x.shape[0], None]),
            E,
            "Reshape: input 'shape': element 1 of the list is None, an un",
        ),
        (
            lambda x: op.Reshape(x, ["n", x.shape[0]]),
            E,
            "Reshape: input 'shape': element 0 of the list is 'n', not a number, dimension or scalar tensor",
        ),
        (
            lambda x: op.Reshape(x, [x.shape[0], x]),
            E,
            "Reshape: input 'shape': element 1 of the list is float32['n', 3, 'm'], not a single number; join vectors ",
        ),
        (
            lambda x: op.Reshape(x, [x[0, 0, 0], -1]),
            E,
            "Reshape: input 'shape': element 0 of the list is float32[()], and int64 is needed; cast it first",
        ),
        (
            lambda x: op.Reshape(x, [[x.shape[0]], [1]]),
            E,
            "Reshape: input 'shape': lists in a list that hold tensors or dimensions are no tensor; write np.stack",
        ),
        (lambda x: op.And(x > 0, x.shape[0]), E, "And: input 'B': a size is an integer, and bool is needed"),
        (
            lambda x: op.Reshape(x, [gd.Dim("n"), -1]),
            gd.UnsupportedError,
            "the dimension 'n' does not say which tensor it is a size of; write x.shape[axis] of a tensor that has it",
        ),
    ],
)
def test_what_is_no_size_is_refused(call: Callable[[Any], Any], error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        call(gd.input("x", X))
    assert str(caught.value).startswith(message) and "test_dynamic_shapes.py" in str(caught.value)
