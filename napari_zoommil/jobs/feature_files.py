"""Features of slides from files of other tools: which files, whether a model fits them, and their bags."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.bags.feature_files.encoder_names import is_same_encoder, name_of_features
from napari_zoommil.bags.feature_files.finding import FeatureFolders
from napari_zoommil.bags.feature_files.hdf5 import is_feature_file
from napari_zoommil.bags.feature_files.layouts import read_stated
from napari_zoommil.bags.feature_files.placing import (
    Frame,
    Placed,
    at_magnifications,
    magnification_in,
    of_patch_size,
    patch_size_of,
    place,
)
from napari_zoommil.bags.feature_files.stated import Stated
from napari_zoommil.errors import ModelError
from napari_zoommil.geometry import magnification_name
from napari_zoommil.jobs.loading import open_own
from napari_zoommil.slides import Slide
from napari_zoommil.slides.absent import AbsentSlide
from napari_zoommil.slides.fingerprint import fingerprint
from napari_zoommil.slides.slide import as_pair

if TYPE_CHECKING:
    from napari_zoommil.bags.cache import Recent
    from napari_zoommil.bags.feature_files.bag import FileBag
    from napari_zoommil.models.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class SlideFiles:
    """The feature files of one slide.

    Attributes
    ----------
    path : Path
        The slide, or the file that stands for it.
    stated : tuple of Stated
        Every magnification of every file; where files differ in the size of patches, of those with the wanted
        one.
    frame : Frame
    """

    path: Path
    stated: tuple[Stated, ...]
    frame: Frame

    @property
    def magnifications(self) -> tuple[float, ...]:
        """Ascending.

        Raises
        ------
        FeatureFileError
            If a file does not tell.
        """
        return tuple(sorted({magnification_in(one, self.frame) for one in self.stated}))

    def at(self, magnifications: Sequence[float]) -> tuple[Stated, ...]:
        """The patches of some magnifications, see :func:`at_magnifications`."""
        return at_magnifications(self.stated, magnifications, self.frame)


def at_hand(path: Path) -> bool:
    """Whether a path is that of a slide that is there, and not of its features."""
    return path.exists() and not is_feature_file(path)


def files_of(
    slide: Path | Slide, folders: FeatureFolders, own: Slide | None, mpp: float | None, patch_size: int | None
) -> SlideFiles:
    """What the feature files of a slide state.

    Parameters
    ----------
    slide : Path or Slide
    folders : FeatureFolders
    own : Slide or None
        The open slide, if it is at hand.
    mpp : float, optional
        Level-0 pixel size of a slide that is not.
    patch_size : int, optional
        Edge of patches, where files do not state it; files with another one are passed over, if there are any
        with this.

    Raises
    ------
    FeatureFileError
        If there are none, or one cannot be used.
    """
    path = slide.path if isinstance(slide, Slide) else Path(slide)
    stated = tuple(one for file in folders.of(path) for one in read_stated(file))
    return SlideFiles(path, of_patch_size(stated, patch_size), Frame.of(own, as_pair(mpp), patch_size))


def require_model(
    model: str, spec: ModelSpec, stated: Sequence[Stated], patch_size: int, given: str | None
) -> None:
    """Refuse features that a model was not made for.

    Parameters
    ----------
    model : str
        Its name, as the user gave it.
    spec : ModelSpec
    stated : sequence of Stated
    patch_size : int
        Edge of their patches, px.
    given : str, optional
        The encoder, as the user names it.

    Raises
    ------
    ModelError, FeatureFileError
        If their encoder, width or patch size are not those of the model, or nobody says which encoder it is.
    """
    if spec.takes != "bag":
        raise ModelError(
            f"{model} reads pixels of the slide, which feature files do not hold; leave --features out"
        )
    for one in stated:
        own = name_of_features(one.path.name, one.encoder, given)
        if not spec.encoder and not given:
            raise ModelError(
                f"{model} does not know the encoder that it was trained on, and {one.path.name} holds "
                f"features of {own}; if it was trained on that, say so with --encoder {own} (encoder=… in "
                "Python)"
            )
        wanted = spec.encoder or str(given)
        if not is_same_encoder(own, wanted):
            raise ModelError(
                f"{model} was trained on features of the encoder {wanted}, but {one.path.name} holds those "
                f"of {own}; extract features with {wanted}, or take a model that was trained on {own}"
            )
        if one.encoder_hash and spec.encoder_hash not in ("", one.encoder_hash):
            raise ModelError(
                f"{model} was trained on other weights of the encoder {wanted} (hash {spec.encoder_hash}) "
                f"than those that made {one.path.name} ({one.encoder_hash}); extract its features again"
            )
        if one.width != spec.config.get("in_features"):
            raise ModelError(
                f"{model} takes {spec.config.get('in_features')} features per patch, but {one.path.name} has "
                f"{one.width}: they are of another encoder, or another version of {own}"
            )
    if patch_size != spec.patch_size:
        raise ModelError(
            f"{model} reads patches of {spec.patch_size} px, but those of {stated[0].path.name} have "
            f"{patch_size} px; extract features of patches of {spec.patch_size} px"
        )


def bag_for_model(
    stack: ExitStack,
    slide: Path | Slide,
    folders: FeatureFolders,
    model: str,
    spec: ModelSpec,
    encoder: str | None,
    mpp: float | None,
    icc: bool,
) -> tuple[Slide | AbsentSlide, FileBag]:
    """A slide, or what is known of it, and its features for a model.

    Raises
    ------
    FeatureFileError, ModelError
        If there are none, they cannot be used, or the model was not made for them.
    """
    from napari_zoommil.bags.feature_files.bag import FileBag

    there = isinstance(slide, Slide) or at_hand(Path(slide))
    own = stack.enter_context(open_own(slide, mpp, icc)) if there else None
    files = files_of(slide, folders, own, mpp, spec.patch_size)
    if lacking := set(spec.magnifications).difference(files.magnifications):
        raise ModelError(
            f"{model} reads {_told(spec.magnifications)}, but {files.stated[0].path.name} holds patches at "
            f"{_told(files.magnifications)}; give the features at {_told(sorted(lacking))} too"
        )
    stated = files.at(spec.magnifications)
    require_model(model, spec, stated, patch_size_of(stated[0], files.frame), encoder)
    placed = place(stated, files.frame)
    shown = own or absent(files.path, stated, placed)
    return shown, FileBag(stated, lambda: placed, stated[0].encoder_hash, shown)


def _told(magnifications: Sequence[float]) -> str:
    return ", ".join(map(magnification_name, magnifications))


def absent(path: Path, stated: Sequence[Stated], placed: Placed) -> AbsentSlide:
    """What is known of a slide that is not at hand."""
    return AbsentSlide(path, placed.grid.shape, placed.mpp, fingerprint(stated[0].path))


def remembered(recent: Recent, files: SlideFiles, magnifications: Sequence[float]) -> Placed:
    """Where patches are, read again if it was forgotten."""
    key = tuple(one.path for one in files.stated), tuple(magnifications)
    return recent.get(key, partial(_place_again, files, magnifications))


def _place_again(files: SlideFiles, magnifications: Sequence[float]) -> Placed:
    paths = dict.fromkeys(one.path for one in files.stated)
    stated = of_patch_size([one for path in paths for one in read_stated(path)], files.frame.patch_size)
    return place(at_magnifications(stated, magnifications, files.frame), files.frame)
