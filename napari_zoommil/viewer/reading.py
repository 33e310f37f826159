"""How a slide is read for a prediction, and again to explain it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely

from napari_zoommil.annotations.regions import area_of
from napari_zoommil.jobs.prediction_store import ReadAs, WaysToRead
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
        how = {
            "regions": tuple(map(shapely.from_wkb, read.regions)),
            "min_tissue": read.min_tissue,
            "overlap": read.overlap,
            "features": tuple(map(Path, read.features)),
            "magnification": read.magnification,
        }
        return cls(read.tissue, None, how, read.detector)

    @property
    def ways(self) -> WaysToRead:
        """Without tissue and regions."""
        how = self.how
        features = tuple(str(path.absolute()) for path in how.get("features", ()))
        return WaysToRead(
            how.get("min_tissue"), self.detector, how.get("overlap", 0.0), features, how.get("magnification")
        )

    @property
    def stored(self) -> ReadAs:
        """What is stored of it with a prediction."""
        regions = tuple(shapely.to_wkb(area_of(one), hex=True) for one in self.how.get("regions", ()))
        ways = self.ways
        return ReadAs(
            self.tissue,
            regions,
            ways.min_tissue,
            ways.detector,
            ways.overlap,
            ways.features,
            ways.magnification,
        )

    def options(self) -> dict[str, Any]:
        """Arguments of the jobs."""
        cores = {"threads": spare_cores(), "workers": spare_cores()}
        return {"tissue": self.tissue, "encoder": self.encoder, **cores, **self.how}
