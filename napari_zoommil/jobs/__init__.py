"""Jobs: each is a generator of :class:`Progress` that returns a frozen result. No torch at import."""

from napari_zoommil.jobs.detect import detect
from napari_zoommil.jobs.embed import embed
from napari_zoommil.jobs.estimate import Estimate, estimate
from napari_zoommil.jobs.explain import explain
from napari_zoommil.jobs.export_features import export_features
from napari_zoommil.jobs.faithfulness import faithfulness
from napari_zoommil.jobs.finetune import finetune
from napari_zoommil.jobs.import_model import import_model
from napari_zoommil.jobs.predict import predict
from napari_zoommil.jobs.progress import Job, Progress, run
from napari_zoommil.jobs.train import train
from napari_zoommil.jobs.train_encoder import train_encoder

__all__ = [
    "Estimate",
    "Job",
    "Progress",
    "detect",
    "embed",
    "estimate",
    "explain",
    "export_features",
    "faithfulness",
    "finetune",
    "import_model",
    "predict",
    "run",
    "train",
    "train_encoder",
]
