"""Tables of the names that other people's checkpoints have for weights, one file per origin. No torch."""

from napari_zoommil.models.origins.abmil import ABMIL
from napari_zoommil.models.origins.clam import CLAM_MB, CLAM_SB
from napari_zoommil.models.origins.dsmil import DSMIL
from napari_zoommil.models.origins.origin import Origin
from napari_zoommil.models.origins.transmil import TRANSMIL
from napari_zoommil.models.origins.zoommil import ZOOMMIL

ORIGINS = {one.model: one for one in (ABMIL, CLAM_SB, CLAM_MB, DSMIL, TRANSMIL, ZOOMMIL)}
"""By the name that ``import-model --as`` takes, which is that of the model in this package."""

__all__ = ["ORIGINS", "Origin"]
