"""What is compared: encoders and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from napari_zoommil.experiments.pieces import as_json
from napari_zoommil.training.encoders.recipe import EncoderRecipe, recipe_of

UNSUPERVISED = ("vae", "contrastive", "bigan")
SUPERVISED = {"supervised-tissue": "supervised", "supervised-organ": "supervised"}
"""On the nuclei of the training patients; on the tiles. The paper's are of tissue and of tumour."""

CONTROLS = ("untrained", "untrained-bigan", "mean-rgb", "rgb-mean-sd", "pixels")
"""Networks with random weights; mean of each colour, and its standard deviation; 8 × 8 pixels."""

PIXELS = 8


@dataclass(frozen=True)
class Extent:
    """A preset.

    Attributes
    ----------
    recipes : dict of str to EncoderRecipe
        By method.
    crops : (int, int)
        Least and largest edge of the crops of tiles that encoders learn from, px.
    patch : int
        Edge of the patches whose organ is told, px.
    fold_steps : int
        Most steps of ``supervised-organ`` without the two slides of a fold.
    seeds : tuple of int
    """

    recipes: Mapping[str, EncoderRecipe] = field(default_factory=dict)
    crops: tuple[int, int] = (24, 64)
    patch: int = 128
    fold_steps: int = 300
    seeds: tuple[int, ...] = (0, 1)

    def pieces(self) -> dict[str, tuple[str, int]]:
        """Encoder and seed by name, ordered by seed."""
        encoders = (*UNSUPERVISED, *SUPERVISED, *CONTROLS)
        return {f"{name}/{seed}": (name, seed) for seed, name in product(self.seeds, encoders)}

    def recipe(self, encoder: str) -> EncoderRecipe:
        """Of an encoder, or of the network of a control."""
        method = {"untrained": "vae", "untrained-bigan": "bigan"}.get(
            encoder, SUPERVISED.get(encoder, encoder)
        )
        return self.recipes[method]

    def described(self, encoder: str) -> dict[str, Any]:
        """Everything that determines a piece except its seed and the data, as JSON."""
        known = encoder in (*UNSUPERVISED, *SUPERVISED, "untrained", "untrained-bigan")
        own = as_json(self, without=("recipes", "seeds"))
        return own | {"encoder": encoder, "recipe": asdict(self.recipe(encoder)) if known else None}


def _recipes(name: str) -> dict[str, EncoderRecipe]:
    return {method: recipe_of(method, name) for method in (*UNSUPERVISED, "supervised")}


EXTENTS = {
    "cpu": Extent(_recipes("cpu")),
    "paper": Extent(_recipes("paper"), crops=(128, 128), fold_steps=20_000),
}
"""``cpu``: crops that show about as much as a nucleus of 27 px, averaged to 32 px. ``paper``: its patches and
networks; its slides are replaced by the tiles at hand."""
