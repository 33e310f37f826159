"""Menu entries that show a dock."""

from __future__ import annotations

import napari

from napari_zoommil.viewer.docks.showing import show_dock


def show_slide_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Slide")


def show_attention_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Attention")


def show_explain_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Explain")


def show_annotate_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Annotate")


def show_detect_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Detect cells")


def show_finetune_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Fine-tune")


def show_cohort_dock(viewer: napari.Viewer) -> None:
    show_dock(viewer, "Cohort")
