"""The operators of custom_operators.py for people who come from torch: what its exporters make of them, and what then.

    pip install "onnx-graphdsl[torch]"
    python examples/torch_operators.py

The older exporter (dynamo=False) is taught an operator by `register_custom_op_symbolic`, the newer one (dynamo=True) by
`custom_translation_table`. Both write a node that no runtime knows; rules then say what it stands for.
"""

import numpy as np
import onnx
import onnxscript
import torch
from custom_operators import deform_conv2d_on_arrays, my_add, to_deform_conv
from torch import Tensor, nn

import graphdsl as gd
from graphdsl import debug

FormalParameter = onnx.defs.OpSchema.FormalParameter


@torch.library.custom_op("torch_side::my_add", mutates_args=())
def torch_my_add(a: Tensor, b: Tensor) -> Tensor:
    return 2 * a + b


@torch.library.custom_op("custom::deform_conv2d", mutates_args=())
def torch_deform_conv2d(image: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    return torch.from_numpy(deform_conv2d_on_arrays(image.numpy(), weight.numpy(), offset.numpy()))


@torch_my_add.register_fake
def _(a, b):
    return torch.empty_like(a)


@torch_deform_conv2d.register_fake
def _(image, weight, offset):
    return image.new_empty(image.shape[0], weight.shape[0], *offset.shape[2:])


class Call(nn.Module):
    """A module that calls one function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def teach_older_exporter() -> None:
    """Symbolic functions: which node stands for an operator."""
    register = torch.onnx.register_custom_op_symbolic
    register("aten::asinh", lambda g, x: g.op("Asinh", x), 9)
    register("torch_side::my_add", lambda g, a, b: g.op("torch_side::my_add", a, b), 9)
    register("custom::deform_conv2d", lambda g, *inputs: g.op("custom::deform_conv2d", *inputs), 9)


def translation(domain, name, inputs):
    """A node for the newer exporter, which wants its schema."""
    formal = [FormalParameter(label, "T") for label in inputs]
    schema = onnx.defs.OpSchema(
        name,
        domain,
        1,
        inputs=formal,
        outputs=[FormalParameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
    )
    node = onnxscript.values.Op(onnxscript.values.Opset(domain, 1), name, schema)
    return lambda *given: node(*given)


TABLE = {
    torch.ops.torch_side.my_add.default: translation("torch_side", "my_add", ["a", "b"]),
    torch.ops.custom.deform_conv2d.default: translation("custom", "deform_conv2d", ["image", "weight", "offset"]),
}


def exported(function, inputs, *, dynamo):
    """What an exporter makes of a function, as a model; what runs nowhere cannot be checked yet."""
    table = {"custom_translation_table": TABLE} if dynamo else {}
    return debug.from_torch(Call(function), inputs, dynamo=dynamo, check=False, **table)


@gd.custom_op("torch_side::my_add")
def exported_my_add(a, b):
    return a


@gd.rule(lambda a, b: exported_my_add(a, b))
def to_function(a, b):
    """What only torch knew becomes a function that the model carries."""
    return my_add(a, b)


def main() -> int:
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, 4, generator=random)
    image, weight = torch.randn(2, 3, 8, 9, generator=random), torch.randn(4, 3, 3, 3, generator=random)
    offset = 4 * torch.rand(2, 18, 6, 7, generator=random) - 2
    programs = [
        ("asinh", torch.asinh, (a,)),
        ("2a + b", torch_my_add, (a, b)),
        ("deformable convolution", torch_deform_conv2d, (image, weight, offset)),
    ]
    for label, function, inputs in programs:
        try:
            exported(function, inputs, dynamo=False)
        except gd.ExportError as refusal:
            print(f"{label}, untaught: {str(refusal).splitlines()[0]}")
    teach_older_exporter()

    right = True
    for label, function, inputs in programs:
        expected = function(*inputs).numpy()
        for dynamo in (False, True):
            model = exported(function, inputs, dynamo=dynamo)
            result = gd.rewrite(model, to_function, to_deform_conv)
            found = result.model(*(tensor.numpy() for tensor in inputs))
            same = np.allclose(found, expected, rtol=1e-5, atol=1e-5)
            right &= same
            nodes = " ".join(node.op_type for node in model.nodes)
            rules = ", ".join(result.applied) or "no rule needed"
            print(f"{label:<23} dynamo={dynamo!s:<6} {nodes:<14} {rules:<15} {'as torch' if same else 'NOT as torch'}")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
