"""How a slide is read for a prediction, and again to explain it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import shapely

from napari_zoommil.annotations.regions import area_of
from napari_zoommil.jobs.prediction_store import ReadAs
from napari_zoommil.slides.patching import Tissue
from napari_zoommil.slides.tissue_published import DEFAULT
from napari_zoommil.viewer.worker import spare_cores


@dataclass(frozen=True)
class Reading:
    """How a slide is read for a prediction, and again to explain it.

    ``how`` are the arguments that the user set, ``detector`` is what found the tissue.
    """

    tissue: Tissue | None
    encoder: str | None
    how: Mapping[str, Any]
    detector: str = DEFAULT

    @classmethod
    def restored(cls, read: ReadAs) -> Reading:
        """Of a stored prediction; its encoder is to be named anew, because a folder never gets one."""
        how = {"regions": tuple(map(shapely.from_wkb, read.regions)), "min_tissue": read.min_tissue}
        return cls(read.tissue, None, how, read.detector)

    @property
    def stored(self) -> ReadAs | None:
        """What is stored of it with a prediction; None without tissue."""
        if self.tissue is None:
            return None
        regions = tuple(shapely.to_wkb(area_of(one), hex=True) for one in self.how.get("regions", ()))
        return ReadAs(self.tissue, regions, self.how.get("min_tissue"), self.detector)

    def options(self) -> dict[str, Any]:
        """Arguments of the jobs."""
        cores = {"threads": spare_cores(), "workers": spare_cores()}
        return {"tissue": self.tissue, "encoder": self.encoder, **cores, **self.how}
