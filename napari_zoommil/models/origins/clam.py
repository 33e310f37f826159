"""CLAM_SB and CLAM_MB of github.com/mahmoodlab/CLAM."""

from __future__ import annotations

from functools import partial

from napari_zoommil.models.origins.origin import Origin, attention_config, attention_names

# The number of the attention is that of the layers before it: 2 of old models without dropout, else 3.
# Two devices in training add "module".
_SHARED = {
    "attention_net.0": "embed.0",
    **attention_names("attention_net.3", "attend"),
    **attention_names("attention_net.2", "attend"),
    "attention_net.module.0": "embed.0",
    **attention_names("attention_net.module.3", "attend"),
    **attention_names("attention_net.module.2", "attend"),
    **{  # without a gate; with dropout the last layer is number 3
        f"attention_net.{number}.module.{layer}": f"attend.{name}"
        for number in (3, 2)
        for layer, name in ((0, "value.0"), (2, "score"), (3, "score"))
    },
    "instance_classifiers.{n}": "instances.{n}",
}

_CONFIG = partial(attention_config, head="classify.weight")
_IGNORED = ("instance_loss_fn.",)

CLAM_SB = Origin(
    "CLAM_SB of mahmoodlab/CLAM", "clam_sb", {**_SHARED, "classifiers": "classify"}, _CONFIG, _IGNORED
)
CLAM_MB = Origin(
    "CLAM_MB of mahmoodlab/CLAM",
    "clam_mb",
    {**_SHARED, "classifiers.{n}": "classify[{n}]"},
    _CONFIG,
    _IGNORED,
)
