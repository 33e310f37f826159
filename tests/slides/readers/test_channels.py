"""When channels are colours."""

from __future__ import annotations

import pytest

from napari_zoommil.slides.readers.channels import Channel, NotColours, as_colour, order_of, told_in_zarr


def named(*names: str) -> list[Channel]:
    return [Channel(name) for name in names]


@pytest.mark.parametrize(
    ("channels", "order"),
    [
        ([], (0, 1, 2)),
        (named("", "", ""), (0, 1, 2)),
        (named("Red", "Green", "Blue"), (0, 1, 2)),
        (named("B", "G", "R"), (2, 1, 0)),
        (named("Channel 0", "Channel 1", "Channel 2"), (0, 1, 2)),
        (named("Channel:0:0", "Channel:0:1", "Channel:0:2"), (0, 1, 2)),
        (named("H&E", "H&E", "H&E"), (0, 1, 2)),
        ([Channel(colour=colour) for colour in (0xFF0000, 0x00FF00, 0x0000FF)], (0, 1, 2)),
        ([Channel(colour=0xFFFFFF)] * 3, (0, 1, 2)),
        (named("r", "g", "b", "a"), (0, 1, 2, 3)),
        (named("Alpha", "Red", "Green", "Blue"), (1, 2, 3, 0)),
    ],
    ids=str,
)
def test_what_is_colour(channels: list[Channel], order: tuple[int, ...]) -> None:
    assert order_of(len(order), channels) == order


@pytest.mark.parametrize(
    ("count", "channels"),
    [
        (2, []),
        (4, []),
        (5, []),
        (3, named("DAPI", "FITC", "Cy5")),
        (4, named("DAPI", "CD3", "CD8", "PanCK")),
        (4, named("Channel 0", "Channel 1", "Channel 2", "Channel 3")),
        (3, [Channel(colour=colour) for colour in (0x0000FF, 0x00FF00, 0xFF0000)]),
        (3, [Channel(fluorescent=True)] * 3),
    ],
    ids=str,
)
def test_what_is_none(count: int, channels: list[Channel]) -> None:
    with pytest.raises(NotColours, match=rf"^holds {count} channels.*, which are not colours; ") as refused:
        order_of(count, channels)
    assert all(one.name in str(refused.value) for one in channels if one.name)


def test_one_channel_is_grey_whatever_it_is_called() -> None:
    assert order_of(1, named("DAPI")) == (0,)


def test_long_names_are_cut() -> None:
    with pytest.raises(NotColours) as refused:
        order_of(3, named("x" * 1000, "y", "z"))
    assert len(str(refused.value)) < 300


def test_what_omero_metadata_say() -> None:
    stated = [{"label": "DAPI", "color": "0000FF"}, {"color": "none"}, 7]
    assert told_in_zarr(stated) == (Channel("DAPI", 0x0000FF), Channel(), Channel())
    assert told_in_zarr("nothing") == () and as_colour("#ff0000") == 0xFF0000 and as_colour(5) is None
