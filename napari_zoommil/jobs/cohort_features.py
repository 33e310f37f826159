"""The feature files of a cohort: what they have in common, whether all can be used, and their bags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_zoommil.bags.feature_files.encoder_names import is_same_encoder, name_of_features
from napari_zoommil.bags.feature_files.finding import FeatureFolders
from napari_zoommil.bags.feature_files.hdf5 import is_feature_file
from napari_zoommil.bags.feature_files.placing import DEFAULT_PATCH
from napari_zoommil.bags.feature_files.stated import Stated
from napari_zoommil.errors import ModelError, ZoomMILError
from napari_zoommil.jobs.cohort_bags import Reading, Source
from napari_zoommil.jobs.feature_files import SlideFiles, at_hand, files_of, remembered, require_model
from napari_zoommil.jobs.progress import Job, Progress
from napari_zoommil.jobs.train_start import Start
from napari_zoommil.models.registry import entry
from napari_zoommil.slides import Slide
from napari_zoommil.training.mil.cohort import refuse
from napari_zoommil.training.mil.cohort_faults import no_slide

if TYPE_CHECKING:
    from napari_zoommil.bags.bag import Bag
    from napari_zoommil.training.mil.labelled_slide import LabelledSlide

FILES = "the feature files"
"""What cannot be used, in messages."""


@dataclass(frozen=True)
class Common:
    """What the feature files of a cohort have in common.

    Attributes
    ----------
    encoder : str
    patch_size : int
    magnifications : tuple of float or None
        Those that a model is trained on; None where there are several, and the model's own are meant.
    """

    encoder: str
    patch_size: int
    magnifications: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class CohortFeatures:
    """The feature files of the slides of a cohort.

    Attributes
    ----------
    paths : tuple of Path
        Files and folders, as the user names them; none, if only lines of the table name files.
    encoder : str or None
        Of the features, as the user names it.
    mpp : float or None
        Level-0 pixel size, as the user states it.
    icc : bool
    patch_size : int or None
        Edge of patches, as the user states it.
    """

    paths: tuple[Path, ...]
    encoder: str | None
    mpp: float | None
    icc: bool
    patch_size: int | None
    _files: dict[Path, SlideFiles] = field(default_factory=dict, repr=False)

    @cached_property
    def folders(self) -> FeatureFolders:
        return FeatureFolders(self.paths, self.encoder)

    def fault(self, slide: Path) -> str:
        """Why a slide has no features that can be used, or is not there to be encoded; empty if it has."""
        if not self.paths and not is_feature_file(slide):
            return no_slide(slide)
        try:
            files = self.of(slide)
            for one in files.stated:
                name_of_features(one.path.name, one.encoder, self.encoder)
            files.magnifications  # noqa: B018 (an error says which is unknown)
            return ""
        except ZoomMILError as error:
            return str(error)

    def used(self, entries: Sequence[LabelledSlide]) -> bool:
        """Whether features of a cohort are in files, and are not encoded."""
        return bool(self.paths) or any(is_feature_file(one.slide) for one in entries)

    def of(self, slide: Path) -> SlideFiles:
        """The files of a slide, without the coordinates of their patches.

        Raises
        ------
        FeatureFileError, SlideError
            If they cannot be used, or the slide is there and cannot be opened.
        """
        if slide not in self._files:
            with Slide.open(slide, self.mpp, self.icc) if at_hand(slide) else nullcontext() as own:
                found = files_of(slide, self.folders, own, self.mpp, self.patch_size)
            self._files[slide] = replace(found, stated=tuple(one.bare() for one in found.stated))
        return self._files[slide]

    def common(
        self,
        entries: Sequence[LabelledSlide],
        model: str | None,
        magnifications: tuple[float, ...] | None,
        start: Start | None,
    ) -> Common:
        """What the files of all slides have in common.

        Parameters
        ----------
        entries : sequence of LabelledSlide
        model : str, optional
            Architecture.
        magnifications : tuple of float, optional
            As the user chose them.
        start : Start, optional
            The model that the training starts from.

        Raises
        ------
        CohortError
            If they are not of one encoder, one width and one patch size.
        ModelError
            If the model reads pixels, or the one to start from was not made for these features.
        """
        if model is not None and entry(model).takes != "bag":
            raise ModelError(
                f"{model} reads pixels of the slides, which feature files do not hold; leave --features out, "
                "or choose a model of features"
            )
        refuse(FILES, [f"{one.place}: {why}" for one in entries if (why := self._unused(one.slide))])
        files = [self.of(one.slide) for one in entries]
        stated = [one for each in files for one in each.stated]
        refuse(FILES, _differences(stated))
        sizes = {one.patch_size for one in stated if one.patch_size}
        size = sizes.pop() if sizes else self.patch_size or DEFAULT_PATCH
        if self.patch_size not in (None, size):
            raise ModelError(
                f"the feature files hold patches of {size} px, but the training was given {self.patch_size}; "
                "leave --patch-size out"
            )
        if start is not None:
            require_model(start.name, start.spec, stated[:1], size, self.encoder)
        name = self.encoder or next(one.encoder for one in stated)
        return Common(name, size, magnifications or _scales(model, files))

    def bags(
        self, entries: Sequence[LabelledSlide], reading: Reading, encoder: str
    ) -> Job[tuple[dict[Path, Bag], Source]]:
        """A bag for each slide, after all features have been read once.

        Raises
        ------
        CohortError
            If features of any slide are not finite, or its patches cannot be placed: all are listed.
        """
        from napari_zoommil.bags.cache import RECENT_BYTES, Recent
        from napari_zoommil.bags.feature_files.bag import FileBag

        recent, bags, faults = Recent(RECENT_BYTES), {}, []
        slides = list(dict.fromkeys(one.slide for one in entries))
        for number, slide in enumerate(slides, 1):
            yield Progress(number - 1, len(slides), f"checking features: slide {number} of {len(slides)}")
            files = self.of(slide)
            try:
                stated = files.at(reading.magnifications)
                placed = partial(remembered, recent, files, reading.magnifications)
                placed()
                for one in stated:
                    yield from _checked(one, number, len(slides))
                bags[slide] = FileBag(stated, placed, stated[0].encoder_hash)
            except ZoomMILError as error:
                faults.append(str(error))
        refuse(FILES, faults)
        first = bags[slides[0]]
        return dict(bags), Source(encoder, first.encoder_hash, first.dim)

    def _unused(self, slide: Path) -> str:
        """Why a slide that is there has no features, where other lines of the table name feature files."""
        if self.paths or is_feature_file(slide):
            return ""
        return (
            f"{slide.name} is a slide, but other lines name feature files; give its features with --features"
        )


def _scales(model: str | None, files: Sequence[SlideFiles]) -> tuple[float, ...] | None:
    """Magnifications that all slides have; of a model of one, if there is a single one."""
    common = set(files[0].magnifications).intersection(*(one.magnifications for one in files[1:]))
    if len(common) == 1 or (model and entry(model).scales != "one"):
        return tuple(sorted(common)) or None
    return None


def _checked(stated: Stated, number: int, count: int) -> Iterator[Progress]:
    for rows in stated.check():
        note = f"checking features: slide {number} of {count}, {rows:,} of {len(stated):,} patches"
        yield Progress(number - 1, count, note)


def _differences(stated: Sequence[Stated]) -> list[str]:
    """What files do not have in common, each with one file that differs."""
    first, faults = stated[0], []
    facts: dict[str, dict[Hashable, list[Stated]]] = defaultdict(lambda: defaultdict(list))
    for one in stated:
        same = not one.encoder or not first.encoder or is_same_encoder(one.encoder, first.encoder)
        facts["the encoder"][first.encoder if same else one.encoder].append(one)
        facts["hash of the encoder"][one.encoder_hash].append(one)
        facts["features per patch:"][one.width].append(one)
        facts["patches of px:"][one.patch_size].append(one)
    for what, groups in facts.items():
        if len(groups) > 1:
            told = (
                f"{value} ({len(found)}, such as {found[0].path.name})" for value, found in groups.items()
            )
            faults.append(f"they differ in {what} {' and '.join(told)}, and a model is trained on one")
    return faults
