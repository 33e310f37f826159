"""Names that other tools give to encoders, so that one encoder under two names is known as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from napari_zoommil.errors import FeatureFileError, UnknownEncoderError

FEATURES_FOLDER = re.compile(r"features_(?P<encoder>.+)")
"""A folder of TRIDENT."""

SAME_ENCODER = (
    ("hf-hub:MahmoodLab/UNI", "uni", "uni_v1", "mahmood-uni"),
    ("hf-hub:MahmoodLab/UNI2-h", "uni2", "uni_v2", "uni2-h", "mahmood-uni2"),
    ("hf-hub:paige-ai/Virchow", "virchow", "virchow-full"),
    ("hf-hub:paige-ai/Virchow2", "virchow2"),
    ("hf-hub:prov-gigapath/prov-gigapath", "gigapath", "prov-gigapath"),
    ("hf-hub:bioptimus/H-optimus-0", "hoptimus0", "h-optimus-0"),
    ("hf-hub:bioptimus/H-optimus-1", "hoptimus1", "h-optimus-1"),
    ("hf-hub:bioptimus/H0-mini", "h0-mini"),
    ("hf-hub:MahmoodLab/conch", "conch", "conch_v1"),
    ("hf-hub:MahmoodLab/conchv1_5", "conch_v15", "conch1_5", "mahmood-conch1_5"),
    ("mean-rgb", "meanrgb"),
    ("resnet50", "resnet50_trunc"),
)
"""A line for each encoder: its name here, and those that CLAM, TRIDENT and STAMP write."""


def _plain(name: str) -> str:
    """Letters and digits only, in lower case: tools differ in the rest."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


_FIRST = {_plain(name): _plain(names[0]) for names in SAME_ENCODER for name in names}


def is_same_encoder(one: str, other: str) -> bool:
    """Whether two names are of one encoder."""
    return _FIRST.get(_plain(one), _plain(one)) == _FIRST.get(_plain(other), _plain(other))


def unstated(files: Sequence[Path], encoder: str) -> str:
    """What to know of feature files that do not state their encoder, and are taken as those of one.

    Parameters
    ----------
    files : sequence of Path
        Those that do not; empty for none.
    encoder : str
        As the user names it.
    """
    if not files:
        return ""
    folder = FEATURES_FOLDER.fullmatch(files[0].parent.name)
    told = files[0].name if len(files) == 1 else f"{len(files):,} feature files, such as {files[0].name}, do"
    told += " does" if len(files) == 1 else ""
    named = ""
    if folder and not is_same_encoder(folder["encoder"], encoder):
        named = f"; their folder is named {files[0].parent.name}"
    return f"{told} not state the encoder; they are taken as features of {encoder}, unchecked{named}"


def name_of_features(file: str, stated: str, given: str | None) -> str:
    """The encoder of features: as their file states it, or as the user does.

    Raises
    ------
    UnknownEncoderError
        If neither does.
    FeatureFileError
        If they contradict one another.
    """
    if not stated and not given:
        raise UnknownEncoderError(
            f"{file} does not state the encoder of its features; name it with --encoder (encoder=… in "
            "Python, a field in the dock)"
        )
    if stated and given and not is_same_encoder(stated, given):
        raise FeatureFileError(f"{file} holds features of the encoder {stated}, not of {given}, as was given")
    return stated or str(given)
