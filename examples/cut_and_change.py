"""Change one node, cut a model into parts, look at what is inside: the usual tutorial's network of four branches.

    pip install "onnx-graphdsl[run]"
    python examples/cut_and_change.py

Nothing is changed in place: each step takes a model and gives another one, so before and after can be compared.
"""

import numpy as np

import graphdsl as gd
from graphdsl import op

LAYERS = {"convs1": 3, "convs2": 2, "convs3": 2, "convs4": 3}


@gd.model
def whole(image: gd.float32[1, 3, 20, 20]):
    """Three convolutions, two branches of two, their sum, three convolutions."""
    random = np.random.default_rng(0)

    def branch(x, name):
        for i in range(LAYERS[name]):
            weight, bias = random.standard_normal((3, 3, 3, 3)) / 5, random.standard_normal(3) / 5
            x = op.Conv(x, np.float32(weight), np.float32(bias), pads=[1] * 4).named(f"{name}.{i}")
        return x

    stem = branch(image, "convs1")
    total = (branch(stem, "convs2") + branch(stem, "convs3")).named("total")
    return branch(total, "convs4")


@gd.rule(lambda x, y: x + y)
def add_to_sub(x, y):
    return x - y


def main() -> int:
    image = np.random.default_rng(1).standard_normal((1, 3, 20, 20), dtype=np.float32)
    out = whole(image)

    print("One node, from Add to Sub:")
    changed = gd.rewrite(whole, add_to_sub, at="total")
    firing = changed.firings[0]
    right = changed.applied == {"add_to_sub": 1} and not np.array_equal(changed.model(image), out)
    print(f"rule {firing.rule} fired at {firing.tensors}\n")

    print("Parts, cut by the names of tensors:")
    cuts = [
        (["convs1.0"], ["convs1.2"]),  # inside one branch
        (["convs1.2"], ["total"]),  # from where the branches part to where they meet
        (["convs1.2"], ["convs2.1", "convs3.1"]),  # several outputs
        (["convs2.0", "convs3.0"], ["convs4.2"]),  # several inputs
    ]
    values = dict(gd.run_intermediates(whole, {"image": image}))
    for inputs, outputs in cuts:
        part = gd.extract(whole, inputs, outputs)
        found = part.run({name: values[name] for name in inputs})
        error = max(np.abs(found[name] - values[name]).max() for name in outputs)
        right &= error < 1e-5
        print(f"  {inputs} to {outputs}: {len(part.nodes)} nodes, off by {error:.1e} from the whole")
    try:
        gd.extract(whole, ["convs2.0"], ["convs4.2"])
        right = False
    except gd.MissingInputs as error:
        print(f"\nA cut that lacks an input says what it needs:\n{error}\n")

    tapped = gd.expose(whole, "convs1.2", "total")
    print(f"Tapped: {[value.name for value in tapped.outputs]}")
    right &= np.array_equal(tapped.run({"image": image})["convs4.2"], out)

    first, second = gd.split(whole, at=["total"])
    print(f"Split at 'total': {len(first.nodes)} nodes and {len(second.nodes)} nodes")
    right &= np.array_equal(second(first(image)), out)
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
