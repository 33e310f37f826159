"""DSMIL of github.com/binli123/dsmil-wsi, of all its versions."""

from __future__ import annotations

from typing import Any

from napari_zoommil.models.origins.origin import Origin, Weights


def _config(weights: Weights) -> dict[str, Any]:
    classes, in_features = weights["instance.weight"].shape
    has_two_layers = "query.2.weight" in weights
    values = "identity"
    if "value.1.weight" in weights:
        values = "linear" if has_two_layers else "affine"
    return {
        "in_features": in_features,
        "classes": classes,
        "query": len(weights["query.0.weight"]),
        "queries": "mlp" if has_two_layers else "linear",
        "values": values,
        "loss": "bce",
    }


def _assumed(weights: Weights) -> str:
    told = (
        "It was trained by the binary cross-entropy of each class: the softmax of its outputs ranks classes "
        "as they do, but is no calibrated probability."
    )
    if "value.1.weight" not in weights:
        return told
    relu = "with" if "query.2.weight" in weights else "without"
    return (
        f"{told} Whether a ReLU follows the layer of the values is not in the weights; it is {relu} one, as "
        "in the version of the authors' code that has such queries (--set values=linear has it, "
        "values=affine does not)."
    )


DSMIL = Origin(
    "DSMIL of binli123/dsmil-wsi",
    "dsmil",
    {
        "i_classifier.fc.0": "instance",
        "i_classifier.fc": "instance",
        "b_classifier.q.0": "query.0",
        "b_classifier.q.2": "query.2",
        "b_classifier.q": "query.0",
        "b_classifier.v.1": "value.1",
        "b_classifier.fcc": "bag",
    },
    _config,
    assumed=_assumed,
)
