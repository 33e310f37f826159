"""The part of the Cohort dock that trains an encoder on the slides of the cohort."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import napari
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QFormLayout, QSizePolicy, QWidget

from napari_zoommil.jobs import Job, Progress, train_encoder
from napari_zoommil.jobs.cohort import OpenCohort
from napari_zoommil.jobs.cohort_train import place_beside
from napari_zoommil.jobs.parameters import fields
from napari_zoommil.jobs.trace import Follow, Trace, curves_of
from napari_zoommil.jobs.train_encoder import EncoderTraining
from napari_zoommil.training.run import has_progress, is_trained
from napari_zoommil.viewer.docks.advanced import How
from napari_zoommil.viewer.docks.cohort.settings import form_of
from napari_zoommil.viewer.docks.curves import COHORT, Curves
from napari_zoommil.viewer.docks.parts import Act, NarrowComboBox, Sentence, button, stack
from napari_zoommil.viewer.docks.paths import Folder
from napari_zoommil.viewer.worker import JobRunner

ADVANCED = (
    "magnification", "patch_size", "patches", "code", "input_size", "steps", "annotations", "rest",
    "group_pattern", "data", "licence", "min_tissue", "tissue_detector", "seed", "mpp", "icc",
)  # fmt: skip
"""Parameters of ``train_encoder`` that are made from the job itself."""

METHODS = {
    "vae": "Reconstructs patches from their codes; needs no labels. First choice",
    "contrastive": "Tells whether two changed patches are of the same place; needs many slides, no labels",
    "bigan": "Adversarial; needs no labels, but very many steps and a GPU",
    "supervised": "Names the class of a patch; needs regions with classes, beside the slides",
}


@dataclass(frozen=True)
class EncoderRequest:
    """What is to be trained, and where it goes: arguments of :func:`napari_zoommil.jobs.train_encoder`."""

    cohort: Path
    out: Path
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def can_be_resumed(self) -> bool:
        """Whether it was cut off after an epoch."""
        return has_progress(self.out) and not is_trained(self.out)

    def job(self, resume: bool) -> Job[EncoderTraining]:
        """The training, with its curves as ``partial``."""
        follow = Follow(self.out, curves_of(self.out) if resume else ())
        with closing(train_encoder(self.cohort, out=self.out, resume=resume, **self.how)) as job:
            while True:
                try:
                    told = next(job)
                except StopIteration as end:
                    result: EncoderTraining = end.value
                    return result
                yield from follow.told(told)


class EncoderPart(QWidget):
    """Method, recipe and folder; Train and Cancel; curves; what came of it.

    Parameters
    ----------
    viewer : napari.Viewer
    runner : callable
        Makes a :class:`JobRunner` that ends with the dock.
    trained : callable
        Called with the folder of a new encoder.
    """

    def __init__(
        self, viewer: napari.Viewer, runner: Callable[..., JobRunner], trained: Callable[[Path], None]
    ) -> None:
        super().__init__()
        self._viewer, self._told_of = viewer, trained
        self._cohort: OpenCohort | None = None
        self._request: EncoderRequest | None = None
        self.runner = runner(self._progress, self._trained, self._ended)
        known = fields(train_encoder)
        self.method, self.recipe = NarrowComboBox(), NarrowComboBox()
        self.method.addItems(list(METHODS))
        self.method.currentTextChanged.connect(self._another_method)
        self.recipe.addItems(["cpu", "paper"])
        self.recipe.setToolTip(known["recipe"].help)
        self.out = Folder("folder of the new encoder", "The folder of the new encoder; it is made")
        self.how = How(train_encoder, ADVANCED, "trains")
        self.act = Act("Train encoder", self._train, self.runner.cancel)
        self.resume = button("Resume", "Go on with the training that was cut off, from its last epoch")
        self.resume.clicked.connect(self._resume)
        self.curves = Curves(COHORT)
        self.curves.hide()
        self.result = Sentence(name="encoder-result")
        form = QWidget()
        lines: QFormLayout = form_of(form)
        for title, widget in (("Method", self.method), ("Recipe", self.recipe), ("New encoder", self.out)):
            widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            lines.addRow(title, widget)
        stack(self, form, self.how, self.act, self.resume, self.curves, self.result)
        self.set_theme()
        self._another_method()
        self._refresh()

    def set_theme(self, _event: object = None) -> None:
        """Letters and ground as the window's theme has them."""
        theme = get_theme(self._viewer.theme)
        self.curves.set_colours(theme.text.as_hex(), theme.background.as_hex())

    def show_cohort(self, cohort: OpenCohort | None) -> None:
        """Another cohort is open."""
        self._cohort = cohort
        if not self.runner.running:
            self._propose()
        self._refresh()

    def _another_method(self, _name: str = "") -> None:
        self.method.setToolTip(METHODS[self.method.currentText()])
        if not self.runner.running:
            self._propose()

    def _propose(self) -> None:
        """Propose a folder beside the cohort that is not there yet."""
        if self._cohort is not None:
            self.out.show_path(place_beside(self._cohort.path, "encoders", self.method.currentText()))

    def _why_not(self) -> str:
        if self._cohort is None:
            return "Open a table or folder of slides first"
        return "" if len(self._cohort.entries) > 1 else "An encoder needs two slides or more: one validates"

    def _refresh(self) -> None:
        why_not, request = self._why_not(), self._request
        self.act.set_ready(not why_not, why_not or "Train an encoder of patches on this cohort")
        self.resume.setVisible(not self.runner.running and request is not None and request.can_be_resumed)

    def _train(self) -> None:
        if self._why_not() or self.runner.running or self._cohort is None:
            return
        if self._request is not None and self.out.path == self._request.out:
            self._propose()  # what is there is not replaced
        how = {"method": self.method.currentText(), "recipe": self.recipe.currentText(), **self.how.values}
        self._request = EncoderRequest(self._cohort.path, self.out.path, how)
        self._start(self._request, False)

    def _resume(self) -> None:
        if self._request is not None and not self.runner.running:
            self._start(self._request, True)

    def _start(self, request: EncoderRequest, resume: bool) -> None:
        self.result.setText("")
        self.curves.hide()
        self.act.show_running(True, "Stop; what was learned until the last epoch can be gone on with")
        told = f"ZoomMIL is training an encoder on {request.cohort.name}; it can be gone on with later"
        self.runner.start(lambda: request.job(resume), told)
        self._refresh()

    def _progress(self, progress: Progress) -> None:
        self.act.show_progress(progress)
        if isinstance(progress.partial, Trace):
            self.curves.setVisible(bool(progress.partial.losses or progress.partial.history))
            self.curves.show_trace(progress.partial)

    def _trained(self, result: EncoderTraining) -> None:
        self.act.note.setText(f"Trained: {result.encoder.name}. It is offered as an encoder to train with.")
        self.result.setText(sentence_of(result))
        self._told_of(result.encoder)

    def _ended(self, failure: str | None) -> None:
        self.act.show_running(False)
        if self.runner.done:
            self._propose()
        else:
            self.act.note.setText(
                "\n".join(getattr(self.runner.error, "faults", ())) or failure or "Cancelled"
            )
        self._refresh()


def sentence_of(result: EncoderTraining) -> str:
    """What a training of an encoder came to."""
    metrics = result.metrics
    first = f"{result.code} features per patch, {metrics.get('steps', 0):,.0f} steps"
    if "probe_accuracy" not in metrics:
        return (
            f"{first}. There were no labels to test with: whether it is better than untrained is not known."
        )
    return (
        f"{first}. A linear probe names {metrics['probe_accuracy']:.0%} of held-out patches rightly; "
        f"untrained {metrics['probe_untrained_accuracy']:.0%}, by colour alone "
        f"{metrics['probe_colour_accuracy']:.0%}."
    )
