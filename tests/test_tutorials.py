"""The networks of the examples, each against the same network in torch, and against torch's exports, loaded by us."""

import custom_operators
import dynamic_axes
import espcn
import numpy as np
import pytest
import sentence_encoder
import torch
import train_espcn
from safetensors.numpy import load_file

import graphdsl as gd
from graphdsl import debug

# ESPCN


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    with np.load(espcn.WEIGHTS) as known:
        return dict(known)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_espcn_is_its_twin_in_torch(weights: dict[str, np.ndarray]) -> None:
    y = noise(2, 1, 13, 17)
    with torch.no_grad():
        expected = train_espcn.ESPCN.load()(torch.from_numpy(y)).numpy()
    found = espcn.network(weights)(y)
    assert found.shape == (2, 1, 39, 51)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dynamo", [False, True])
def test_espcn_is_what_torch_exports(weights: dict[str, np.ndarray], dynamo: bool) -> None:
    y = noise(1, 1, 9, 8)
    exported = debug.from_torch(train_espcn.ESPCN.load(), (torch.from_numpy(y),), dynamo=dynamo)
    ours = espcn.network(weights)
    kinds = [node.op_type for node in exported.nodes if node.op_type in ("Conv", "Relu", "DepthToSpace")]
    assert kinds == [node.op_type for node in ours.nodes]
    np.testing.assert_allclose(ours(y), exported(y), rtol=0, atol=1e-5)


def test_weights_come_by_name_from_a_state_dict_with_a_prefix(weights: dict[str, np.ndarray]) -> None:
    state = {f"module.generator.{name}": 2 * tensor for name, tensor in train_espcn.ESPCN.load().state_dict().items()}
    exported = debug.from_torch(train_espcn.ESPCN.load(), (torch.zeros(1, 1, 9, 8),), dynamo=False)
    doubled = gd.with_weights(exported, state, rename=lambda name: name.removeprefix("module.generator."))
    y = noise(1, 1, 9, 8)
    np.testing.assert_array_equal(doubled(y), espcn.network({n: 2 * w for n, w in weights.items()})(y))


# The sentence encoder


@pytest.fixture(scope="module")
def encoder() -> gd.Model:
    known = load_file(sentence_encoder.FOLDER / "model.safetensors")
    return sentence_encoder.encode({name: array for name, array in known.items() if array.dtype == np.float32})


def test_embeddings_are_those_of_torch(encoder: gd.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from sentence_transformers import SentenceTransformer

    twin = SentenceTransformer(str(sentence_encoder.FOLDER), device="cpu")
    expected = twin.encode(sentence_encoder.SENTENCES)
    found = encoder(*sentence_encoder.tokenized(sentence_encoder.SENTENCES))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=0, atol=1e-5)


class Embedding(torch.nn.Module):
    """What SentenceTransformer makes of BERT: the mean over tokens, at length 1."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import AutoModel

        self.bert = AutoModel.from_pretrained(str(sentence_encoder.FOLDER), attn_implementation="eager")

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.bert(input_ids=tokens, attention_mask=mask, return_dict=False)[0]
        counted = mask[:, :, None].float()
        return torch.nn.functional.normalize((states * counted).sum(1) / counted.sum(1), dim=1)


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.full)])
def test_embeddings_are_those_of_torch_s_export(
    encoder: gd.Model, monkeypatch: pytest.MonkeyPatch, dynamo: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tokens, mask = sentence_encoder.tokenized(sentence_encoder.SENTENCES)
    arguments = (torch.from_numpy(tokens), torch.from_numpy(mask))
    exported = debug.from_torch(Embedding(), arguments, dynamo=dynamo)
    np.testing.assert_allclose(encoder(tokens, mask), exported(tokens, mask), rtol=0, atol=1e-5)


def test_padding_changes_no_embedding(encoder: gd.Model) -> None:
    tokens, mask = sentence_encoder.tokenized(sentence_encoder.SENTENCES)
    together = encoder(tokens, mask)
    for row, (line, seen) in enumerate(zip(tokens, mask, strict=True)):
        length = seen.sum()
        alone = encoder(line[None, :length], seen[None, :length])
        np.testing.assert_allclose(together[row : row + 1], alone, rtol=0, atol=1e-5)


# Operators and axes


@pytest.mark.parametrize("spread", [0.0, 0.9, 3.0])
def test_deformable_convolution_is_onnx_s_own(spread: float) -> None:
    random = np.random.default_rng(1)
    image = random.standard_normal((2, 3, 7, 9), dtype=np.float32)
    weight = random.standard_normal((4, 3, 3, 2), dtype=np.float32)
    offset = random.uniform(-spread, spread, (2, 12, 5, 8)).astype(np.float32)
    arrays = {"image": image, "weight": weight, "offset": offset}
    model = gd.build(gd.op.DeformConv(*(gd.input(name, gd.float32[array.shape]) for name, array in arrays.items())))
    expected = custom_operators.deform_conv2d_on_arrays(**arrays)
    np.testing.assert_allclose(model.run(arrays)["output"], expected, rtol=0, atol=1e-5)
    if not spread:
        straight = torch.nn.functional.conv2d(torch.from_numpy(image), torch.from_numpy(weight)).numpy()
        np.testing.assert_allclose(expected, straight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (2, 1, 5, 17), (3, 1, 40, 31)])
def test_edges_of_any_size_are_those_of_torch(shape: tuple[int, ...]) -> None:
    image = noise(*shape)
    slopes = torch.nn.functional.conv2d(torch.from_numpy(image), torch.from_numpy(dynamic_axes.KERNELS))
    expected = slopes.square().sum(1, keepdim=True).sqrt().numpy()
    np.testing.assert_allclose(dynamic_axes.of_any_size(image), expected, rtol=0, atol=1e-6)
