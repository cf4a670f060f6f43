"""Loops and branches: what tracing freezes, and what a model decides when it runs.

    pip install "onnx-graphdsl[run]"
    python examples/control_flow.py

`a = a + b`, n times, unrolled and as a loop; a branch that depends on the data. With torch installed
(`pip install "onnx-graphdsl[torch]"`), its exporters make the same models of the same programs, and the outputs are
compared: a trace unrolls the loop, a script keeps it, and `torch.cond` keeps the branch.
"""

import importlib.util

import numpy as np

import graphdsl as gd
from graphdsl import op


@gd.model
def unrolled(n: int, a: gd.float32[2, 3], b: gd.float32[2, 3]):
    """n is a Python value, so Python's loop runs while the model is written, and leaves n additions."""
    for _ in range(n):
        a = a + b
    return a


@gd.model
def looped(a: gd.float32[2, 3], b: gd.float32[2, 3], n: gd.int64[()]):
    """n is an input, so the loop is part of the model; its body uses b as any Python function would."""
    return op.Loop(n, None, a, body=lambda i, going, total: (going, total + b))


@gd.model
def branched(x: gd.float32["n"]):
    """Only the branch that the data chooses runs."""
    return op.If(x.sum() > 0, then_branch=lambda: x * 2, else_branch=lambda: x - 1)


def repeated(a, b, n):
    for _ in range(n):
        a = a + b
    return a


def main() -> int:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 2, 3), dtype=np.float32)

    print("a = a + b, three times, unrolled, and any number of times, as a loop:\n")
    three = unrolled(3)
    print(three, "\n")
    print(looped, "\n")
    right = np.array_equal(three(a, b), repeated(a, b, 3))
    for n in (0, 1, 3, 10):
        right &= np.array_equal(looped(a, b, n), repeated(a, b, n))
    try:
        a if gd.input("flag", gd.bool[()]) else b
    except gd.FrozenValueError as refusal:
        print(f"A Python branch on a tensor would freeze, so it is refused:\n  {str(refusal).splitlines()[0]}\n")
    for x in (np.float32([1, 2]), np.float32([-5, 2])):
        doubled = x.sum() > 0
        right &= np.array_equal(branched(x), x * 2 if doubled else x - 1)
        print(f"{x} is {'doubled' if doubled else 'lowered'}: {branched(x)}")

    if importlib.util.find_spec("torch"):
        from torch_control_flow import exported

        traced, scripted, conditional = exported()
        print("\nWhat torch's exporters make of it:")
        for label, model in (("trace", traced), ("script", scripted), ("torch.cond", conditional)):
            print(f"{label:<12}{', '.join(node.op_type for node in model.nodes)}")
        right &= np.array_equal(traced(a, b), three(a, b))
        right &= all(np.array_equal(scripted(a, b, n), looped(a, b, n)) for n in (0, 1, 10))
        right &= all(np.array_equal(conditional(x), branched(x)) for x in (np.float32([1, 2]), np.float32([-5, 2])))
    print("\nAll outputs are equal." if right else "\nSome outputs differ.")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
