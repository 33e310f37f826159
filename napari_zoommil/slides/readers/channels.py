"""What the channels of an image are: colours, grey, or stains that are no colours.

The number of channels alone does not tell: three may be DAPI, FITC and Cy5, and a fourth is alpha only where
the file says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RGB_COLOURS = (0xFF0000, 0x00FF00, 0x0000FF)
"""Colours in which red, green and blue are shown."""

NAMES = ({"red", "r"}, {"green", "g"}, {"blue", "b"}, {"alpha", "a"})
"""Names of colour channels, and of opacity."""

UNNAMED = re.compile(r"(channel|ch|c|image|component|band|sample)?[\s:_#=-]*\d*([:_]\d+)*")
"""Names that programs give to channels by themselves."""

LONGEST = 80


class NotColours(Exception):
    """Channels that are no picture; the message continues a sentence that begins with a name."""


@dataclass(frozen=True)
class Channel:
    """What a file says of a channel.

    Attributes
    ----------
    name : str
    colour : int or None
        0xRRGGBB in which it is shown.
    fluorescent : bool
        Whether its light was fluorescence.
    """

    name: str = ""
    colour: int | None = None
    fluorescent: bool = False


def order_of(count: int, channels: Sequence[Channel] = ()) -> tuple[int, ...]:
    """The channels, of ``count`` that are stored apart, to be read as grey, as RGB or as RGB and alpha.

    Parameters
    ----------
    count : int
    channels : sequence of Channel
        What the file says of each; of any other number they say nothing.

    Raises
    ------
    NotColours
        If they are no colours.
    """
    if count == 1:
        return (0,)
    told = channels if len(channels) == count else ()
    names = [one.name.strip().casefold() for one in told]
    if found := _named_colours(names):
        return found
    if count == 3 and _unsaid(told, names):
        return (0, 1, 2)
    raise NotColours(_refusal(count, [one.name.strip() for one in told]))


def _named_colours(names: Sequence[str]) -> tuple[int, ...]:
    """Where red, green, blue, and alpha if there is one, are; empty if the names are others."""
    bare = [re.sub(r"^channel[\s:_-]*", "", name) for name in names]
    wanted = NAMES[: len(bare)] if len(bare) in (3, 4) else ()
    places = [[at for at, name in enumerate(bare) if name in known] for known in wanted]
    return tuple(at for (at,) in places) if places and all(len(found) == 1 for found in places) else ()


def _unsaid(told: Sequence[Channel], names: Sequence[str]) -> bool:
    """Whether nothing is said against three channels' being red, green and blue."""
    if any(one.fluorescent for one in told):
        return False
    colours = [one.colour for one in told if one.colour is not None]
    if colours and tuple(colours) != RGB_COLOURS and len(set(colours)) > 1:
        return False
    return len(set(names)) <= 1 or all(UNNAMED.fullmatch(name) for name in names)


def _refusal(count: int, names: Sequence[str]) -> str:
    listed = ", ".join(name for name in names if name)
    cut = listed if len(listed) <= LONGEST else f"{listed[:LONGEST]}…"
    named = f" ({cut})" if cut else ""
    return (
        f"holds {count} channels{named}, which are not colours; grey and RGB images can be shown: "
        "export one channel, or an RGB picture of them"
    )


def as_colour(text: object) -> int | None:
    """0xRRGGBB of six hexadecimal digits, as OME-Zarr states colours."""
    if not (isinstance(text, str) and re.fullmatch(r"#?[0-9a-fA-F]{6}", text)):
        return None
    return int(text.removeprefix("#"), 16)


def told_in_zarr(channels: object) -> tuple[Channel, ...]:
    """What the ``omero`` metadata of an OME-Zarr say of its channels."""
    entries: Iterable[object] = channels if isinstance(channels, list) else ()
    found = [one if isinstance(one, dict) else {} for one in entries]
    return tuple(Channel(str(one.get("label") or ""), as_colour(one.get("color"))) for one in found)
