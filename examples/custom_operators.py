"""Operators of one's own: as a composition, as a function, with a body in NumPy, and turned into one that ONNX has.

    pip install "onnx-graphdsl[run]"
    python examples/custom_operators.py

The stations of the usual tutorials: asinh, `2a + b`, and a deformable convolution in a domain of its own, which a rule
then replaces by ONNX's DeformConv, so that ONNX Runtime runs it. torch_operators.py shows the same from torch's side.
"""

import numpy as np

import graphdsl as gd
from graphdsl import op


@gd.function(domain="my")
def my_add(a, b):
    """2a + b as a local function: the model carries it, and everything runs it."""
    return 2 * a + b


@gd.custom_op("theirs::my_add")
def my_other_add(a, b):
    """2a + b as an operator that only others implement: the result has the type of a."""
    return a


@my_other_add.numpy
def my_other_add_on_arrays(a, b):
    return 2 * a + b


@gd.custom_op("custom::deform_conv2d")
def deform_conv2d(image, weight, offset):
    """A convolution that looks beside its grid, by offsets (n, 2 * kh * kw, h', w'): down and right, place by place."""
    (n, _, _, _), (c, _, _, _), (_, _, h, w) = image.shape, weight.shape, offset.shape
    return image.dtype[n, c, h, w]


@deform_conv2d.numpy
def deform_conv2d_on_arrays(image, weight, offset):
    """The formula of Dai et al. (2017), as torchvision has it: bilinear between four pixels, zeros outside."""
    n, _, high, wide = image.shape
    _, _, kh, kw = weight.shape
    _, _, h, w = offset.shape
    shifts = offset.reshape(n, kh * kw, 2, h, w)
    rows, columns = np.divmod(np.arange(kh * kw), kw)
    y = shifts[:, :, 0] + rows[:, None, None] + np.arange(h)[:, None]
    x = shifts[:, :, 1] + columns[:, None, None] + np.arange(w)
    patches = np.zeros((n, kh * kw, h, w, image.shape[1]), image.dtype)
    for down in (0, 1):
        for right in (0, 1):
            row, column = np.floor(y).astype(int) + down, np.floor(x).astype(int) + right
            near = (1 - np.abs(y - row)) * (1 - np.abs(x - column))
            near *= (row >= 0) & (row < high) & (column >= 0) & (column < wide)
            batch = np.arange(n)[:, None, None, None]
            pixels = image[batch, :, row.clip(0, high - 1), column.clip(0, wide - 1)]
            patches += near[..., None].astype(image.dtype) * pixels
    return np.einsum("nkhwc,ock->nohw", patches, weight.reshape(*weight.shape[:2], -1)).astype(image.dtype)


@gd.rule(lambda image, weight, offset: gd.domain("custom", 1).deform_conv2d(image, weight, offset))
def to_deform_conv(image, weight, offset):
    """ONNX has DeformConv since opset 19; its inputs have another order than torchvision's."""
    return op.DeformConv(image, weight, offset)


def report(what, found, expected):
    """Print whether two arrays are equal within a few roundings, and say so."""
    same = np.allclose(found, expected, rtol=1e-5, atol=1e-5)
    print(f"{what:<58}{'as NumPy' if same else 'NOT as NumPy'}")
    return same


def main() -> int:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 3, 4), dtype=np.float32)
    x, y = gd.input("x", gd.float32["n", 4]), gd.input("y", gd.float32["n", 4])

    right = report("asinh, ONNX's operator", gd.build(op.Asinh(x))(a), np.arcsinh(a))
    right &= report("asinh, by NumPy's function on a tensor", gd.build(np.arcsinh(x))(a), np.arcsinh(a))
    written = op.Log(x + op.Sqrt(x * x + 1.0))
    right &= report("asinh, composed, for opsets before 9", gd.build(written)(a), np.arcsinh(a))
    right &= report("2a + b, a function in the model", gd.build(my_add(x, y))(a, b), 2 * a + b)
    right &= report("2a + b, an operator with a NumPy body", gd.build(my_other_add(x, y))(a, b), 2 * a + b)

    image = random.standard_normal((2, 3, 8, 9), dtype=np.float32)
    weight = random.standard_normal((4, 3, 3, 3), dtype=np.float32)
    offset = random.uniform(-2, 2, (2, 18, 6, 7)).astype(np.float32)
    inputs = (gd.input("image", gd.float32["n", 3, "h", "w"]), gd.constant(weight, "weight"))
    model = gd.build(deform_conv2d(*inputs, gd.input("offset", gd.float32["n", 18, "h - 2", "w - 2"])))
    expected = deform_conv2d_on_arrays(image, weight, offset)
    right &= report("deformable convolution, in ONNX's reference evaluator", model(image, offset), expected)
    standard = gd.rewrite(model, to_deform_conv)
    print(f"{'':<4}rewritten: {standard.applied}, now {[node.op_type for node in standard.model.nodes]}")
    right &= report("deformable convolution, in ONNX Runtime", standard.model(image, offset), expected)
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
