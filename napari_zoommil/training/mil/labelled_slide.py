"""A slide of a cohort."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class LabelledSlide:
    """One slide of a cohort.

    Attributes
    ----------
    slide : Path
    label : str
    split : str
        ``train``, ``val`` or ``test``; empty if not stated.
    group : str
        Such as a patient; slides of a group are always in the same split.
    line : int
        Line of the table of slides; 0 if there is no table.
    fold : str
        Fold that holds it out; empty if not stated.
    stratum : str
        Value by which results are reported.
    subsets : tuple of str
        Subsets of the held-out slides that it belongs to, of which results are also reported.
    """

    slide: Path
    label: str
    split: str = ""
    group: str = ""
    line: int = field(default=0, compare=False)
    fold: str = ""
    stratum: str = ""
    subsets: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """``line 3``, or the slide's name."""
        return f"line {self.line}" if self.line else self.slide.name
