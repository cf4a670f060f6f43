"""A first model, `a * x + b`: build it, check it, print it, save it, run it and compare with NumPy.

    pip install "onnx-graphdsl[run]"
    python examples/linear_function.py

Writes linear_func.onnx into the current folder, or to the path given. Exits with an error if the model is invalid or
computes something else than NumPy does.
"""

import sys

import numpy as np
import onnx

import graphdsl as gd


@gd.model
def linear_func(a: gd.float32[10, 10], x: gd.float32[10, 10], b: gd.float32[10, 10]):
    return a * x + b


def main(path="linear_func.onnx"):
    onnx.checker.check_model(linear_func.to_proto(), full_check=True)
    print(linear_func)

    linear_func.save(path)
    print(f"saved as {path}")

    random = np.random.default_rng(0)
    a, x, b = (random.standard_normal((10, 10), dtype=np.float32) for _ in range(3))
    y = linear_func(a, x, b)
    np.testing.assert_allclose(y, a * x + b, rtol=1e-6)
    print(f"ONNX Runtime and NumPy agree; the first of {y.size} values is {y[0, 0]:.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
