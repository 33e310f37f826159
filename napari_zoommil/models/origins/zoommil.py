"""ZoomMIL of github.com/histocartography/zoommil."""

from __future__ import annotations

from typing import Any

from napari_zoommil.models.origins.origin import Origin, Weights, attention_names

SCALES = ("low", "mid", "high")


def _names() -> dict[str, str]:
    names = {"classify_head": "classifier"}
    for number, scale in enumerate(SCALES):
        names[f"fc_{scale}_mag.0"] = f"embed.{number}.0"
        names |= attention_names(f"ga_{scale}_mag", f"pool.{number}")
        if scale != SCALES[-1]:
            names |= attention_names(f"aux_ga_{scale}_mag", f"zoom.{number}")
    return names


def _config(weights: Weights) -> dict[str, Any]:
    hidden, in_features = weights["embed.0.0.weight"].shape
    return {
        "in_features": in_features,
        "classes": len(weights["classifier.weight"]),
        "hidden": hidden,
        "attention": len(weights["pool.0.value.0.weight"]),
        "k": 12,
        "topk": "paper",
    }


ZOOMMIL = Origin(
    "ZoomMIL of histocartography/zoommil",
    "zoommil",
    _names(),
    _config,
    scales=lambda _: len(SCALES),
    assumed=lambda weights: (
        "How many patches it zooms into is not in the weights; k is 12, the default of the authors' code, "
        "unless it was given (--set k=…)."
    ),
)
