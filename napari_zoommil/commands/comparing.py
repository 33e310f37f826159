"""Comparison of maps with the regions of each slide, and its summary over all slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_zoommil.annotations.regions import Region, read_regions
from napari_zoommil.commands.report import finite
from napari_zoommil.errors import JobError
from napari_zoommil.files import TABLES, has_ending, make_folder, write_json
from napari_zoommil.geometry import Pair
from napari_zoommil.jobs.explanation import Explanation
from napari_zoommil.jobs.map_agreement import (
    SlideAgreement,
    cohort_agreement,
    cohort_text,
    require_one_output,
    slide_agreement,
)
from napari_zoommil.jobs.prediction_files import agreement_file, folder_in, overview_of, write_agreement
from napari_zoommil.maps.focus import WHOLE, Focus
from napari_zoommil.maps.localisation import Denoising
from napari_zoommil.slides import Slide
from napari_zoommil.slides.absent import AbsentSlide
from napari_zoommil.slides.slide import stem_of
from napari_zoommil.training.mil.cohort import read_to_predict

ENDINGS = (".geojson", ".json", ".xml")


@dataclass
class Comparing:
    """Regions of the slides, and what was found on those that are done.

    Attributes
    ----------
    source : Path or None
        A file of regions, or a folder of such files; None if nothing is compared.
    class_name : str
        Of the regions that count; all if empty.
    groups : mapping of Path to str
        Such as the patient of each slide.
    denoising : Denoising
    focus : Focus
        What is explained of each slide.
    """

    source: Path | None
    class_name: str
    groups: Mapping[Path, str]
    denoising: Denoising = Denoising()  # noqa: RUF009 (frozen)
    focus: Focus = WHOLE
    done: list[SlideAgreement] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        source: Path | None,
        class_name: str,
        given: Sequence[Path],
        paths: Sequence[Path],
        denoising: Denoising,
        options: Mapping[str, Any],
    ) -> Comparing:
        """What a command line asks for, with the options of ``explain``; refused before any work.

        Raises
        ------
        JobError
            If there are several slides and one file, or several outputs, or a slide has no file.
        FileError, AnnotationError
            If a file cannot be read.
        """
        groups = {
            one.slide: one.group
            for table in given
            if source is not None and has_ending(table, TABLES)
            for one in read_to_predict(table)
        }
        comparing = cls(source, class_name, groups, denoising, options["focus"])
        if source is not None:
            if source.is_file() and len(paths) > 1:
                raise JobError(
                    "one file of regions is of one slide; for several, name a folder of such files"
                )
            for path in paths:
                comparing._regions(path, None)  # what is malformed is told before hours of work
            if len(paths) > 1:
                require_one_output(*(options[name] for name in ("model", "method", "target")))
        return comparing

    def file_of(self, path: Path) -> Path:
        """The file with the regions of a slide."""
        assert self.source is not None
        if self.source.is_file():
            return self.source
        for ending in ENDINGS:
            if (found := self.source / f"{stem_of(path)}{ending}").is_file():
                return found
        raise JobError(
            f"{self.source} has no regions of {path.name}: there is no {stem_of(path)}.geojson or .xml; "
            "of a slide without such regions, put an empty one there"
        )

    def compare(
        self, path: Path, slide: Slide | AbsentSlide, found: Explanation, folder: Path
    ) -> SlideAgreement | None:
        """Compare, and write ``agreement-METHOD-TARGET.json``."""
        if self.source is None or found.focus.at is not None:
            return None
        told = slide_agreement(
            found,
            self._regions(path, slide.origin),
            class_name=self.class_name,
            denoising=self.denoising,
            overview=overview_of(slide) if isinstance(slide, Slide) else None,
            group=self.groups.get(path, ""),
        )
        self.done.append(told)
        write_agreement(told, found, folder)
        return told

    def _regions(self, path: Path, origin: Pair | None) -> tuple[Region, ...]:
        """None, where the file of a slide has no such region."""
        return read_regions(self.file_of(path), self.class_name, origin=origin, needed=False)

    def end(self, out: Path, quiet: bool) -> None:
        """Summarise several slides: ``agreement-METHOD-TARGET.json`` beside their folders, and a table."""
        if len(self.done) < 2:
            return
        summaries, first = cohort_agreement(self.done), self.done[0]
        facts = {"class": self.class_name, "denoising": asdict(self.denoising), "cohort": summaries}
        folder = make_folder(folder_in(out, self.focus))
        write_json(agreement_file(folder, first.method, first.target), finite(facts))
        if not quiet:
            print(cohort_text(summaries))
