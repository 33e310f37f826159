"""TransMIL of github.com/szc19990412/TransMIL; the attention is that of the package nystrom-attention."""

from __future__ import annotations

from typing import Any

from napari_zoommil.models.origins.origin import Origin, Weights


def _layer(published: str, number: int, ours: str) -> dict[str, str]:
    return {
        f"{published}.norm": f"norms.{number}",
        f"{published}.attn.to_qkv": f"{ours}.project",
        f"{published}.attn.to_out.0": f"{ours}.out.0",
        f"{published}.attn.res_conv": f"{ours}.nearby",
    }


def _config(weights: Weights) -> dict[str, Any]:
    hidden, in_features = weights["embed.0.weight"].shape
    return {
        "in_features": in_features,
        "classes": len(weights["classifier.weight"]),
        "hidden": hidden,
        "heads": len(weights["first.nearby.weight"]),
        "landmarks": hidden // 2,
    }


TRANSMIL = Origin(
    "TransMIL of szc19990412/TransMIL",
    "transmil",
    {
        "_fc1.0": "embed.0",
        "cls_token": "class_token",
        **_layer("layer1", 0, "first"),
        **_layer("layer2", 1, "last"),
        "pos_layer.proj": "positions.convolutions.0",
        "pos_layer.proj1": "positions.convolutions.1",
        "pos_layer.proj2": "positions.convolutions.2",
        "norm": "norm",
        "_fc2": "classifier",
    },
    _config,
    transforms={"class_token": lambda token: token.flatten(0, -2)},
    assumed=lambda weights: (
        "The number of landmarks is not in the weights; it is half of the width, as in the authors' code "
        "(--set landmarks=… if it was another)."
    ),
)
