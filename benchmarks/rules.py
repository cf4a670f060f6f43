"""The same rewrites with graphdsl, onnxscript's rewriter and onnx-graphsurgeon, from a proto to a proto.

Four rules fire: Relu(Relu(x)), MatMul + Add, Transpose(Transpose(x)) and x * 1. More rules of the form f(g(x)) can be
added, which never fire: the model has their operators, never one after the other. onnx-graphsurgeon has no rules; what
it does is written by hand, as its examples do.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import onnx

import graphdsl as gd
from graphdsl import op

Rewriter = Callable[[onnx.ModelProto], onnx.ModelProto]

FIRING = 4
"""The rules that fire; all others are idle."""

_FILLERS = ("Sigmoid", "Tanh", "Neg", "Softplus", "Abs", "Erf", "Sin", "Cos")
_IDLE = tuple(product(("MatMul", *_FILLERS), _FILLERS[:6]))
"""Pairs of operators (outer, inner) that are never neighbours in the model, though it has most of them."""


def model(nodes: int, every: int) -> onnx.ModelProto:
    """A chain of about so many nodes: a place where a rule fires, then `every - 1` nodes where none does."""
    x = gd.input("x", gd.float32[8, 8])
    w, b = gd.constant(np.eye(8, dtype=np.float32), "w"), gd.constant(np.full(8, 0.5, np.float32), "b")
    places: list[tuple[int, Callable[[gd.Tensor], gd.Tensor]]] = [
        (2, lambda h: op.Relu(op.Relu(h))),
        (2, lambda h: h @ w + b),
        (2, lambda h: op.Transpose(op.Transpose(h, perm=[1, 0]), perm=[1, 0])),
        (1, lambda h: h * 1.0),
    ]
    h, count, turn = x, 0, 0
    while count < nodes:
        cost, write = places[turn % 4]
        h = write(h)
        for index in range(every - 1):
            h = getattr(op, _FILLERS[(turn + index) % 3])(h) if index % 2 == 0 else h + x
        count, turn = count + cost + every - 1, turn + 1
    return gd.build({"y": h}, inputs=[x], name="places").to_proto()


def graphdsl(idle: int) -> Rewriter:
    """graphdsl: every match is checked for other users and for types."""

    @gd.rule(lambda x: op.Relu(op.Relu(x)))
    def relu_once(x):
        return op.Relu(x)

    @gd.rule(lambda x, w, b: x @ w + b)
    def to_gemm(x, w, b):
        return op.Gemm(x, w, b)

    @gd.rule(lambda x, p, q: op.Transpose(op.Transpose(x, perm=p), perm=q))
    def merge_transposes(x, p, q):
        return op.Transpose(x, perm=[p[i] for i in q])

    @gd.rule(lambda x: x * 1)
    def times_one(x):
        return x

    def never(outer: str, inner: str) -> gd.Rule:
        write = lambda x: getattr(op, outer)(getattr(op, inner)(x), *([x] if outer == "MatMul" else []))  # noqa: E731
        return gd.rule(write, name=f"{outer} of {inner}")(lambda x: x)

    rules = [relu_once, to_gemm, merge_transposes, times_one, *(never(*pair) for pair in _IDLE[:idle])]
    return lambda proto: gd.rewrite(gd.load(proto), *rules).model.to_proto()


def onnxscript(idle: int) -> Rewriter:
    """onnxscript's rewriter, with the same rules."""
    import onnxscript.rewriter as rewriter

    def never(outer: str, inner: str) -> rewriter.RewriteRule:
        def pattern(op, x):
            return getattr(op, outer)(getattr(op, inner)(x), *([x] if outer == "MatMul" else []))

        return rewriter.RewriteRule(pattern, lambda op, x: op.Identity(x))

    def merged(op, x, p, q):
        return op.Transpose(x, perm=[p.as_ints()[i] for i in q.as_ints()])

    rules = [
        rewriter.RewriteRule(lambda op, x: op.Relu(op.Relu(x)), lambda op, x: op.Relu(x)),
        rewriter.RewriteRule(lambda op, x, w, b: op.Add(op.MatMul(x, w), b), lambda op, x, w, b: op.Gemm(x, w, b)),
        rewriter.RewriteRule(lambda op, x, p, q: op.Transpose(op.Transpose(x, perm=p), perm=q), merged),
        rewriter.RewriteRule(lambda op, x: op.Mul(x, 1.0), lambda op, x: op.Identity(x)),
        *(never(*pair) for pair in _IDLE[:idle]),
    ]
    return lambda proto: rewriter.rewrite(proto, rules)


def graphsurgeon(idle: int) -> Rewriter:
    """onnx-graphsurgeon: loops by hand, without rules, so rules that never fire are left out."""
    import onnx_graphsurgeon as gs

    def bypass(node: gs.Node, source: gs.Tensor) -> None:
        for user in list(node.outputs[0].outputs):
            user.inputs = [source if tensor is node.outputs[0] else tensor for tensor in user.inputs]
        node.outputs.clear()

    def rewrite(proto: onnx.ModelProto) -> onnx.ModelProto:
        graph = gs.import_onnx(proto)
        for node in graph.nodes:
            if node.op == "Relu" and node.inputs[0].inputs and node.i().op == "Relu":
                node.inputs = list(node.i().inputs)
            elif node.op == "Add" and node.inputs[0].inputs and node.i().op == "MatMul":
                node.op, node.inputs = "Gemm", [*node.i().inputs, node.inputs[1]]
            elif node.op == "Transpose" and node.inputs[0].inputs and node.i().op == "Transpose":
                node.attrs["perm"] = [node.i().attrs["perm"][i] for i in node.attrs["perm"]]
                node.inputs = list(node.i().inputs)
            elif node.op == "Mul" and isinstance(node.inputs[1], gs.Constant) and (node.inputs[1].values == 1).all():
                bypass(node, node.inputs[0])
        return gs.export_onnx(graph.cleanup().toposort())

    return rewrite


REWRITERS: dict[str, Callable[[int], Rewriter]] = {
    "graphdsl": graphdsl,
    "onnxscript": onnxscript,
    "onnx-graphsurgeon": graphsurgeon,
}


def available(idle: int) -> tuple[dict[str, Rewriter], list[str]]:
    """The rewriters whose libraries are installed, and the names of the others."""
    found, missing = {}, []
    for name, make in REWRITERS.items():
        try:
            found[name] = make(idle)
        except ImportError:
            missing.append(name)
    return found, missing
