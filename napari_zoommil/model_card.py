"""Model cards: a head that the hub reads, and text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOT_FOR = "not_for"
"""Entry of a card's head that says what the model must not be used for."""


def model_card(
    title: str,
    text: str,
    figures: Mapping[str, float] | None = None,
    *,
    tags: Sequence[str],
    license: str | None = None,
    not_for: str = "",
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
    not_for : str, optional
        What the model must not be used for, as a sentence: the card begins with it, and :func:`not_for_of`
        reads it.

    Returns
    -------
    str
        The content of ``README.md``.
    """
    from huggingface_hub import ModelCard, ModelCardData

    stated: dict[str, Any] = {NOT_FOR: not_for} if not_for else {}
    head = ModelCardData(
        library_name="napari-zoommil", license=license, tags=["whole-slide-image", *tags], **stated
    )
    first = [f"**{not_for}**"] if not_for else []
    parts = [f"# {' '.join(title.split())}", *first, text.strip("\n")]
    if figures:
        rows = ((name.replace("_", " "), f"{value:.3f}") for name, value in figures.items())
        parts.append(markdown_table(("figure", "value"), rows))
    body = "\n\n".join(parts)
    return str(ModelCard(f"---\n{head.to_yaml()}\n---\n\n{body}\n"))


def not_for_of(card: str) -> str:
    """What a card says that its model must not be used for; empty where it says nothing."""
    from huggingface_hub import ModelCard

    try:
        stated = ModelCard(card).data.to_dict().get(NOT_FOR, "")
    except Exception:  # a stranger's head can be malformed in many ways
        return ""
    return " ".join(stated.split()) if isinstance(stated, str) else ""


def body_of(card: str) -> str:
    """A card without its head."""
    if not card.startswith("---\n"):
        return card.strip()
    head, found, body = card[4:].partition("\n---")
    return (body if found else head).strip("-\n ")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a line break at its end."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
