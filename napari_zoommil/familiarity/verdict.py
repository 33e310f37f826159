"""How much of what a model read is unlike what it was trained on, in numbers and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Known = Literal["known", "unknown", "no training"]

SENTENCES: dict[str, str] = {
    "unknown": "whether it knows such tissue is unknown: "
    "the model folder keeps no statistics of its training",
    "no training": "this model needs no training: there is nothing that a slide could be unlike",
}
"""What is said where nothing can be compared."""


FEWEST_COMPARED = 20
"""Patches of which it can be said that they are like those of the training: of fewer, chance decides."""


@dataclass(frozen=True)
class Verdict:
    """What can be said of a slide and a model.

    Attributes
    ----------
    status : {"known", "unknown", "no training"}
        Whether the model's folder keeps statistics of its training; a classical model has no training.
    share : float
        Of the patches that were read, how many are unlike those of the training: 0 to 1.
    limit : float
        Share up to which a slide counts as known: hardly any held-out slide of the training had more.
    patches : int
        Patches that were compared, a random sample of those that were read; those of glass are none of them.
    """

    status: Known = "unknown"
    share: float = 0.0
    limit: float = 1.0
    patches: int = 0

    @property
    def is_unlike(self) -> bool:
        """Whether the result is not to be relied on: the slide is unlike what the model was trained on."""
        return self.status == "known" and (self.share > self.limit or not self.patches)

    @property
    def sentence(self) -> str:
        """``82 % of what it read is unlike what it was trained on: do not rely on this``."""
        if self.status != "known":
            return SENTENCES[self.status]
        if not self.patches:
            return "nothing of what it read is stained tissue: do not rely on this"
        told = f"{percent(self.share)} of what it read is unlike what it was trained on"
        if self.is_unlike:
            return f"{told}: do not rely on this"
        return (
            told if self.patches >= FEWEST_COMPARED else f"{told}: {self.patches} patches are too few to tell"
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What a result's file states."""
        known = self.status == "known"
        return {
            "status": self.status,
            "share_unlike": round(self.share, 4) if known else None,
            "limit": round(self.limit, 4) if known else None,
            "patches_compared": self.patches,
            "do_not_rely_on_this": self.is_unlike,
            "sentence": self.sentence,
        }


UNKNOWN = Verdict()
"""Of a model whose folder keeps no statistics."""

NO_TRAINING = Verdict("no training")
"""Of a model that is no result of training."""


def percent(share: float) -> str:
    """``82 %``; neither 0 nor 100 is said of what is not exactly that."""
    if 0 < share < 0.01:
        return "less than 1 %"
    return f"{min(99, round(100 * share)) if share < 1 else 100} %"
