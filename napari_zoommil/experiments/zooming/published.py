"""Published results on zooming: Thandiackal et al., "Differentiable Zooming for Multiple Instance Learning on
Whole-Slide Images" (ECCV 2022), and its supplement. Metrics are in percent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of Tables 1 to 3, or of the supplement's, which have no cost.

    Attributes
    ----------
    table : str
    method : str
        Name of the model in the registry.
    magnifications : tuple of float
    f1, f1_sd, accuracy, accuracy_sd : float
    tera : float or None
        "TFLOPs".
    seconds : float or None
        Time per slide on an A100.
    k : int or None
        Of ZoomMIL.
    """

    table: str
    method: str
    magnifications: tuple[float, ...]
    f1: float
    f1_sd: float
    accuracy: float
    accuracy_sd: float
    tera: float | None = None
    seconds: float | None = None
    k: int | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set of the comparison.

    Attributes
    ----------
    name : str
    patches_20x : int
        Mean number of tissue patches of 256 px at 20x (sec. 4.1).
    rows : tuple of Published
    """

    name: str
    patches_20x: int
    rows: tuple[Published, ...]

    def patches(self, magnification: float) -> int:
        """Mean number of tissue patches at a magnification, from that at 20x."""
        return round(self.patches_20x * (magnification / 20) ** 2)

    @property
    def magnifications(self) -> tuple[float, ...]:
        """All magnifications that a method reads."""
        return tuple(sorted({one for row in self.rows for one in row.magnifications}))


CRC = DataSet(
    "CRC",
    3468,
    (
        Published("1", "maxmil", (20,), 82.2, 0.9, 82.2, 1.2, 0.96, 0.13),
        Published("1", "meanmil", (20,), 84.3, 0.8, 84.1, 1.2, 0.96, 0.12),
        Published("1", "sparseconvmil", (20,), 89.6, 1.3, 89.6, 0.9, 0.96, 0.13),
        Published("1", "abmil", (20,), 90.1, 0.6, 90.2, 0.5, 13.63, 4.85),
        Published("1", "clam_sb", (20,), 90.9, 0.6, 90.9, 0.5, 13.63, 4.85),
        Published("1", "transmil", (20,), 89.8, 1.1, 90.2, 0.9, 13.63, 4.85),
        Published("1", "msmil", (5, 10, 20), 84.6, 0.1, 84.9, 0.2, 17.88, 6.37),
        Published("1", "dsmil", (5, 10, 20), 91.1, 1.1, 91.2, 1.1, 17.94, 6.37),
        Published("1", "zoommil", (5, 10), 90.3, 1.3, 90.3, 1.3, 1.06, 0.38, 12),
        Published("1", "zoommil", (5, 10, 20), 92.0, 0.6, 92.1, 0.7, 1.40, 0.50, 16),
        Published("S1", "abmil", (5,), 86.8, 0.7, 87.0, 0.7),
        Published("S1", "abmil", (10,), 88.8, 0.7, 89.0, 0.6),
        Published("S1", "clam_sb", (5,), 87.7, 0.5, 87.8, 0.5),
        Published("S1", "clam_sb", (10,), 89.5, 0.5, 89.6, 0.5),
        Published("S1", "transmil", (5,), 86.2, 1.1, 87.4, 1.1),
        Published("S1", "transmil", (10,), 88.4, 1.3, 89.1, 1.1),
    ),
)

BRIGHT = DataSet(
    "BRIGHT",
    15872,
    (
        Published("2", "maxmil", (10,), 46.8, 3.7, 51.3, 1.7, 0.96, 0.13),
        Published("2", "meanmil", (10,), 44.9, 2.8, 47.1, 0.1, 0.96, 0.12),
        Published("2", "sparseconvmil", (10,), 53.2, 3.6, 55.3, 3.7, 0.96, 0.13),
        Published("2", "abmil", (10,), 63.5, 2.7, 65.5, 1.9, 16.45, 5.86),
        Published("2", "clam_sb", (10,), 63.1, 1.7, 64.3, 1.7, 16.45, 5.86),
        Published("2", "transmil", (10,), 65.5, 2.8, 66.0, 2.7, 16.46, 5.86),
        Published("2", "msmil", (1.25, 2.5, 10), 61.7, 0.6, 62.5, 1.1, 21.59, 7.69),
        Published("2", "dsmil", (1.25, 2.5, 10), 63.1, 1.6, 64.0, 1.1, 21.66, 7.69),
        Published("2", "zoommil", (1.25, 2.5), 66.0, 1.9, 66.5, 1.5, 0.40, 0.14, 8),
        Published("2", "zoommil", (1.25, 2.5, 10), 68.3, 1.1, 69.3, 1.0, 1.29, 0.46, 12),
        Published("S2", "abmil", (1.25,), 58.4, 1.0, 58.9, 1.6),
        Published("S2", "abmil", (2.5,), 58.7, 1.1, 59.3, 1.0),
        Published("S2", "clam_sb", (1.25,), 59.9, 1.3, 60.3, 1.2),
        Published("S2", "clam_sb", (2.5,), 60.1, 1.2, 60.2, 1.6),
        Published("S2", "transmil", (1.25,), 40.1, 3.8, 47.3, 2.5),
        Published("S2", "transmil", (2.5,), 52.0, 1.3, 54.5, 2.7),
    ),
)

CAMELYON16 = DataSet(
    "CAMELYON16",
    9892,
    (
        Published("3", "maxmil", (20,), 64.0, 3.0, 67.1, 0.9, 0.96, 0.13),
        Published("3", "meanmil", (20,), 63.5, 1.1, 65.9, 1.6, 0.96, 0.12),
        Published("3", "sparseconvmil", (20,), 67.7, 0.6, 68.7, 0.1, 0.96, 0.13),
        Published("3", "abmil", (20,), 83.2, 1.7, 84.0, 1.3, 39.12, 13.92),
        Published("3", "clam_sb", (20,), 83.3, 1.5, 84.0, 1.3, 39.12, 13.92),
        Published("3", "transmil", (20,), 83.6, 2.6, 85.3, 1.9, 39.12, 13.92),
        Published("3", "msmil", (10, 20), 81.4, 1.1, 82.4, 1.0, 48.87, 17.41),
        Published("3", "dsmil", (10, 20), 78.5, 0.42, 79.6, 0.3, 48.95, 17.41),
        Published("3", "zoommil", (10, 20), 83.3, 0.3, 84.2, 0.4, 14.94, 5.32, 300),
        Published("S3", "abmil", (10,), 76.7, 0.8, 78.3, 0.7),
        Published("S3", "clam_sb", (10,), 77.5, 0.6, 79.1, 0.6),
        Published("S3", "transmil", (10,), 76.6, 1.1, 79.6, 1.0),
    ),
)

DATA_SETS = {one.name: one for one in (CRC, BRIGHT, CAMELYON16)}

SAMPLED = ("maxmil", "meanmil", "sparseconvmil")
"""Methods of the paper that encode random patches of a slide, by a ResNet-34."""

SAMPLES = 100
"""Patches that they encode (supplement, sec. E)."""

ABLATION: dict[str, tuple[float, float]] = {
    "random": (61.0, 61.0),
    "random-patches": (59.6, 60.0),
    "fixed": (59.9, 60.0),
    "single": (59.6, 61.0),
    "last": (62.7, 63.5),
    "concatenation": (64.9, 65.0),
    "zoommil": (68.1, 68.0),
}
"""Table 4 (BRIGHT, 1.25x → 2.5x, K = 8): weighted F1 and accuracy of each variant; the last is the method."""

BEST_K = 12
"""Peak of the supplement's Figure 2 (BRIGHT), which has no numbers in the text."""


def published(method: str, magnifications: tuple[float, ...]) -> dict[str, Published]:
    """The published result of a method at corresponding magnifications, by data set.

    The highest magnification of a data set corresponds to 20x here, the next one to 10x, and so on.
    """
    found = {}
    for data in DATA_SETS.values():
        ladder = data.magnifications
        ours = (5.0, 10.0, 20.0)[-len(ladder) :]
        for row in data.rows:
            corresponding = tuple(ours[ladder.index(one)] for one in row.magnifications)
            if row.method == method and corresponding == tuple(magnifications):
                found[data.name] = row
    return found
