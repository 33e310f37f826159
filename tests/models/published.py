"""The published passes, from the papers and the authors' code, on weights under the authors' names."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, layer_norm, linear, one_hot, pad

Weights = dict[str, Tensor]


def draw(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) / max(1, shape[-1]) ** 0.5
        for name, shape in shapes.items()
    }


def layer(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def apply(weights: Weights, name: str, value: Tensor) -> Tensor:
    return linear(value, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def gated_shapes(name: str, into: int, width: int, outputs: int = 1) -> dict[str, tuple[int, ...]]:
    return (
        layer(f"{name}.attention_a.0", width, into)
        | layer(f"{name}.attention_b.0", width, into)
        | layer(f"{name}.attention_c", outputs, width)
    )


def gated(weights: Weights, name: str, value: Tensor) -> Tensor:
    a = torch.tanh(apply(weights, f"{name}.attention_a.0", value))
    b = torch.sigmoid(apply(weights, f"{name}.attention_b.0", value))
    return apply(weights, f"{name}.attention_c", a * b)


def clam_shapes(
    classes: int, multi: bool, at: str = "attention_net.3", first: str = "attention_net.0", gate: bool = True
) -> dict[str, tuple[int, ...]]:
    shapes = layer(first, 8, 6)
    outputs = classes if multi else 1
    if gate:
        shapes |= gated_shapes(at, 8, 5, outputs)
    else:
        shapes |= layer(f"{at}.module.0", 5, 8) | layer(f"{at}.module.3", outputs, 5)
    for number in range(classes):
        shapes |= layer(f"instance_classifiers.{number}", 2, 8)
        if multi:
            shapes |= layer(f"classifiers.{number}", 1, 8)
    return shapes if multi else shapes | layer("classifiers", classes, 8)


def clam(
    weights: Weights,
    bag: Tensor,
    classes: int,
    multi: bool,
    at: str = "attention_net.3",
    first: str = "attention_net.0",
    gate: bool = True,
) -> tuple[Tensor, Tensor]:
    """Logits and raw attention."""
    hidden = apply(weights, first, bag).relu()
    if gate:
        raw = gated(weights, at, hidden)
    else:
        raw = apply(weights, f"{at}.module.3", apply(weights, f"{at}.module.0", hidden).tanh())
    pooled = raw.T.softmax(1) @ hidden
    if multi:
        return torch.cat([apply(weights, f"classifiers.{c}", pooled[c]) for c in range(classes)]), raw
    return apply(weights, "classifiers", pooled)[0], raw


def dsmil_shapes(deep: bool, values: bool, classes: int = 2, width: int = 6) -> dict[str, tuple[int, ...]]:
    shapes = layer("i_classifier.fc.0", classes, width)
    if deep:
        shapes |= layer("b_classifier.q.0", 5, width) | layer("b_classifier.q.2", 5, 5)
    else:
        shapes |= layer("b_classifier.q", 5, width)
    if values:
        shapes |= layer("b_classifier.v.1", width, width)
    return shapes | {
        "b_classifier.fcc.weight": (classes, classes, width),
        "b_classifier.fcc.bias": (classes,),
    }


def dsmil(weights: Weights, bag: Tensor, deep: bool, values: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, attention after the softmax, and instance logits."""
    scores = apply(weights, "i_classifier.fc.0", bag)

    def query(value: Tensor) -> Tensor:
        if not deep:
            return apply(weights, "b_classifier.q", value)
        return apply(weights, "b_classifier.q.2", apply(weights, "b_classifier.q.0", value).relu()).tanh()

    seen = bag
    if values:
        seen = apply(weights, "b_classifier.v.1", bag)
        seen = seen.relu() if deep else seen
    critical = bag[scores.sort(0, descending=True).indices[0]]
    attention = (query(bag) @ query(critical).T / math.sqrt(5)).softmax(0)
    pooled = attention.T @ seen
    logits = conv1d(pooled[None], weights["b_classifier.fcc.weight"], weights["b_classifier.fcc.bias"])
    return logits[0, :, 0], attention, scores


def transmil_shapes(classes: int = 3, into: int = 6, width: int = 16) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width)}
    shapes |= layer("_fc1.0", width, into)
    for name in ("layer1", "layer2"):
        shapes |= {f"{name}.norm.weight": (width,), f"{name}.norm.bias": (width,)}
        shapes |= {f"{name}.attn.to_qkv.weight": (3 * width, width)}
        shapes |= layer(f"{name}.attn.to_out.0", width, width)
        shapes |= {f"{name}.attn.res_conv.weight": (8, 1, 33, 1)}
    for name, size in (("proj", 7), ("proj1", 5), ("proj2", 3)):
        shapes[f"pos_layer.{name}.weight"] = (width, 1, size, size)
        shapes[f"pos_layer.{name}.bias"] = (width,)
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return shapes | layer("_fc2", classes, width)


def nystrom(weights: Weights, name: str, tokens: Tensor, heads: int = 8) -> tuple[Tensor, Tensor]:
    """Output, and the whole n × n attention of each head."""
    count, width = tokens.shape
    landmarks = width // 2
    front = -count % landmarks
    padded = pad(tokens, (0, 0, front, 0))
    split = apply(weights, f"{name}.to_qkv", padded).view(len(padded), 3, heads, -1).permute(1, 2, 0, 3)
    q, k, v = split[0] * (width // heads) ** -0.5, split[1], split[2]
    segment = math.ceil(count / landmarks)
    ql, kl = (one.reshape(heads, landmarks, segment, -1).sum(2) / segment for one in (q, k))
    a1, a2, a3 = ((one @ other.mT).softmax(-1) for one, other in ((q, kl), (ql, kl), (ql, k)))
    z = a2.mT / (a2.abs().sum(-1).max() * a2.abs().sum(-2).max())
    eye = torch.eye(landmarks)
    for _ in range(6):
        az = a2 @ z
        z = 0.25 * z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az)))
    attention = a1 @ z @ a3
    near = conv2d(v[None], weights[f"{name}.res_conv.weight"], padding=(16, 0), groups=heads)[0]
    mixed = (attention @ v + near).permute(1, 0, 2).flatten(1)
    return apply(weights, f"{name}.to_out.0", mixed)[-count:], attention[:, -count:, -count:]


def transmil(weights: Weights, bag: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the class token's row of the last layer's attention over the patches, by head."""

    def norm(name: str, value: Tensor) -> Tensor:
        return layer_norm(value, value.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    embedded = apply(weights, "_fc1.0", bag).relu()
    edge = math.ceil(math.sqrt(len(bag)))
    tokens = torch.cat([weights["cls_token"][0], embedded, embedded[: edge**2 - len(bag)]])
    tokens = tokens + nystrom(weights, "layer1.attn", norm("layer1.norm", tokens))[0]
    image = tokens[1:].T.reshape(1, -1, edge, edge)
    added = [
        conv2d(
            image, weights[f"pos_layer.{name}.weight"], weights[f"pos_layer.{name}.bias"], 1, size // 2, 1, 16
        )
        for name, size in (("proj", 7), ("proj1", 5), ("proj2", 3))
    ]
    tokens = torch.cat([tokens[:1], (image + sum(added))[0].flatten(1).T])
    out, attention = nystrom(weights, "layer2.attn", norm("layer2.norm", tokens))
    tokens = tokens + out
    return apply(weights, "_fc2", norm("norm", tokens)[0]), attention[:, 0, 1:]


def zoommil_shapes(classes: int = 3) -> dict[str, tuple[int, ...]]:
    shapes = layer("classify_head", classes, 8)
    for scale in ("low", "mid", "high"):
        shapes |= layer(f"fc_{scale}_mag.0", 8, 6) | gated_shapes(f"ga_{scale}_mag", 8, 5)
        if scale != "high":
            shapes |= gated_shapes(f"aux_ga_{scale}_mag", 8, 5)
    return shapes


def zoommil(
    weights: Weights, levels: list[Tensor], k: int, ratio: int = 4
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Logits, raw attention of each magnification, and the selections; children follow their parents."""
    selected: list[Tensor] = []
    pooled, attention = torch.zeros(8), []
    for number, scale in enumerate(("low", "mid", "high")):
        values = levels[number]
        for done, choice in enumerate(selected):  # earlier selections first, as products with T ⊗ 1
            slots = ratio ** (number - done)
            values = torch.kron(choice, torch.eye(slots)) @ values
        hidden = apply(weights, f"fc_{scale}_mag.0", values).relu()
        raw = gated(weights, f"ga_{scale}_mag", hidden)
        attention.append(raw[:, 0])
        pooled = pooled + (raw.T.softmax(1) @ hidden)[0]
        if scale != "high":
            ranked = gated(weights, f"aux_ga_{scale}_mag", hidden)[:, 0].softmax(0)
            best = ranked.topk(min(k, len(ranked))).indices.sort().values
            selected.append(one_hot(best, len(ranked)).float())
    return apply(weights, "classify_head", pooled), attention, selected


def abmil_shapes(head: bool, classes: int = 2) -> dict[str, tuple[int, ...]]:
    shapes = layer("model.patch_embed.0", 8, 6) | gated_shapes("model.global_attn", 8, 5)
    return shapes | layer("model.classifier", classes, 8) if head else shapes


def abmil(weights: Weights, bag: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and raw attention."""
    hidden = apply(weights, "model.patch_embed.0", bag).relu()
    raw = gated(weights, "model.global_attn", hidden)
    return apply(weights, "model.classifier", raw.T.softmax(1) @ hidden)[0], raw
