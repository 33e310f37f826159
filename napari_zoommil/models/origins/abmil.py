"""ABMIL of github.com/mahmoodlab/MIL-Lab, and its models on the hub (FEATHER)."""

from __future__ import annotations

from functools import partial

from napari_zoommil.models.origins.origin import Origin, attention_config, attention_names

ABMIL = Origin(
    "ABMIL of mahmoodlab/MIL-Lab",
    "abmil",
    {"patch_embed.0": "embed.0", **attention_names("global_attn", "attend"), "classifier": "classify"},
    partial(attention_config, head="classify.weight"),
    head="classify",
)
