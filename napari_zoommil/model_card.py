"""Model cards: a head that the hub reads, and text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def model_card(
    title: str,
    text: str,
    figures: Mapping[str, float] | None = None,
    *,
    tags: Sequence[str],
    license: str | None = None,
) -> str:
    """The card of a model that works with this package.

    Parameters
    ----------
    title : str
    text : str
        Markdown below the title.
    figures : mapping of str to float, optional
        A table of them ends the card; ``_`` in their names becomes a blank.
    tags : sequence of str
        What the hub finds it by, beside ``whole-slide-image``.
    license : str, optional
        As the hub abbreviates it; not stated where not given.

    Returns
    -------
    str
        The content of ``README.md``.
    """
    from huggingface_hub import ModelCard, ModelCardData

    head = ModelCardData(library_name="napari-zoommil", license=license, tags=["whole-slide-image", *tags])
    parts = [f"# {' '.join(title.split())}", text.strip("\n")]
    if figures:
        rows = ((name.replace("_", " "), f"{value:.3f}") for name, value in figures.items())
        parts.append(markdown_table(("figure", "value"), rows))
    body = "\n\n".join(parts)
    return str(ModelCard(f"---\n{head.to_yaml()}\n---\n\n{body}\n"))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a line break at its end."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
