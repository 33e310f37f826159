"""ABMIL (Ilse 2018) as another package would bring it: the model, its options and its entry, in one file."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import nn

from napari_zoommil.models.blocks.attention import GatedAttention, attention_pool, evidence
from napari_zoommil.models.mil import MILModel, MILOutput, Need, Step
from napari_zoommil.models.registry import Entry, Recipe


@dataclass(frozen=True)
class Options:
    hidden: int = 512
    attention: int = 256
    dropout: float = 0.25


class ABMIL(MILModel):
    def __init__(self, in_features, classes, magnifications, options=Options()):
        super().__init__(in_features, classes, magnifications, options)
        width, dropout = options.hidden, options.dropout
        self.embed = nn.Sequential(nn.Linear(in_features, width), nn.ReLU(), nn.Dropout(dropout))
        self.attend = GatedAttention(width, options.attention, dropout)
        self.classify = nn.Linear(width, classes)

    def attention_logits(self, level, features):
        return self.attend(self.embed(features))

    def steps(self, grid):
        rows = np.arange(len(grid.levels[0]))
        embeddings = self.embed((yield Need(0, rows, preview=partial(self.attention_logits, 0))))
        scores = self.attend(embeddings)
        logits = self.classify(attention_pool(embeddings, scores[:, 0]))
        added = evidence(embeddings, scores[:, 0], self.classify)
        return MILOutput(logits, (Step(0, rows, scores, embeddings, evidence=added),))


RECIPES = {
    "default": Recipe(weight_decay=1e-5),
    "paper": Recipe(learning_rate=5e-4, weight_decay=1e-4, epochs=20),
}
ENTRY = Entry(
    "zoommil_abmil:ABMIL", Options, recipes=RECIPES, citation="Ilse et al. 2018, Attention-based deep MIL"
)
