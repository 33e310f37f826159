"""The feature files of a slide among folders, found by the slide's name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from napari_zoommil.bags.feature_files.encoder_names import FEATURES_FOLDER, is_same_encoder
from napari_zoommil.bags.feature_files.hdf5 import PICKLES, is_feature_file
from napari_zoommil.bags.feature_files.layouts import TRIDENT_FOLDER
from napari_zoommil.errors import FeatureFileError
from napari_zoommil.files import FEATURES, has_ending
from napari_zoommil.slides.slide import stem_of


@dataclass(frozen=True)
class FeatureFolders:
    """Feature files and folders of them, as the user names them.

    Attributes
    ----------
    paths : tuple of Path
        Files; folders of files; or folders of a tool's results: TRIDENT's (``20x_256px_0px_overlap``, or that
        of several of those), or CLAM's (with ``h5_files``).
    encoder : str or None
        Whose features are meant, where a folder holds those of several.
    """

    paths: tuple[Path, ...]
    encoder: str | None = None

    @cached_property
    def folders(self) -> tuple[Path | dict[str, list[Path]], ...]:
        """Named files, and of each folder its files by the name of the slide.

        Raises
        ------
        FeatureFileError
            If a path is missing, a folder has no feature files, or those of several encoders.
        """
        found: list[Path | dict[str, list[Path]]] = []
        for path in self.paths:
            if not path.is_dir():
                found.append(path)
                continue
            for folder in self._with_files(path):
                by_name: dict[str, list[Path]] = {}
                for file in _files_in(folder):
                    by_name.setdefault(file.stem, []).append(file)
                found.append(by_name)
        return tuple(found)

    def of(self, slide: Path) -> tuple[Path, ...]:
        """The files of a slide: one, or one for each folder that has it.

        Raises
        ------
        FeatureFileError
            If there is none, or several in one folder.
        """
        if is_feature_file(slide):
            return (slide,)
        stem, files = stem_of(slide), []
        for one in self.folders:  # "a.ome.tif" is "a" here, and "a.ome" to other tools
            own = [one] if isinstance(one, Path) else one.get(stem) or one.get(slide.stem, [])
            if len(own) > 1:
                names = " and ".join(f"{each.parent.name}/{each.name}" for each in own[:3])
                raise FeatureFileError(
                    f"{slide.name} has several feature files of its name ({names}); keep one of them, or "
                    "give its folder"
                )
            files += own
        if not files:
            where = " and ".join(path.name or str(path) for path in self.paths) or "no folder (--features)"
            raise FeatureFileError(
                f"there is no feature file of {slide.name} in {where}; it must be named {stem}.h5"
            )
        return tuple(dict.fromkeys(files))

    def _with_files(self, folder: Path) -> list[Path]:
        """Folders of files in a folder of a tool's results."""
        if any(_files_in(folder, deep=False)):
            return [folder]
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        if by_scale := [path for path in inner if TRIDENT_FOLDER.fullmatch(path.name)]:
            usable = [path for path in by_scale if self._has_wanted(path)]  # others may be in progress
            return [one for path in usable or by_scale for one in self._with_files(path)]
        if by_encoder := [path for path in inner if FEATURES_FOLDER.fullmatch(path.name)]:
            return [self._of_encoder(folder, by_encoder)]
        if (folder / "h5_files").is_dir():
            return self._with_files(folder / "h5_files")
        if any(_files_in(folder)):
            return [folder]
        pickles = any(has_ending(path, PICKLES) for path in folder.iterdir())
        raise FeatureFileError(
            f"{folder.name or folder} holds no feature files (.h5)"
            + ("; its .pt files are pickles, which can run code: give the .h5 files" if pickles else "")
        )

    def _has_wanted(self, scale: Path) -> bool:
        """Whether a folder of one magnification has features, and of the wanted encoder if one is named."""
        return any(
            file.parent.name != "patches" and (self.encoder is None or self._is_wanted(file.parent))
            for file in _files_in(scale)
        )

    def _is_wanted(self, folder: Path) -> bool:
        match = FEATURES_FOLDER.fullmatch(folder.name)
        return not match or bool(self.encoder and is_same_encoder(match["encoder"], self.encoder))

    def _of_encoder(self, folder: Path, found: list[Path]) -> Path:
        if len(found) == 1:  # that it is of the wanted encoder is checked where its files are read
            return found[0]
        chosen = [path for path in found if self._is_wanted(path)]
        if len(chosen) != 1:
            names = [path.name.removeprefix("features_") for path in found]
            raise FeatureFileError(
                f"{folder.name} holds features of {', '.join(names)}; choose with --encoder, or name one of "
                "its folders"
            )
        return chosen[0]


def _files_in(folder: Path, deep: bool = True) -> list[Path]:
    return sorted(path for path in folder.glob("**/*" if deep else "*") if has_ending(path, FEATURES))
