"""One table of keys: bindings and help sheet."""

from __future__ import annotations

import pytest
from napari.layers import Points, Shapes

from napari_zoommil.viewer import keys


@pytest.fixture
def heard() -> tuple[dict, list]:
    """Actions that note down what was called."""
    calls: list[tuple[str, int]] = []
    actions = {key.action: lambda number, name=key.action: calls.append((name, number)) for key in keys.TABLE}
    return actions, calls


def press(layer, name: str) -> None:
    from napari.utils.key_bindings import coerce_keybinding

    layer.keymap[coerce_keybinding(name)](layer)


def test_every_key_of_the_table_does_its_action(heard) -> None:
    actions, calls = heard
    layer = Points(ndim=2)
    keys.bind(layer, actions, editable=True)
    expected = []
    for key in keys.TABLE:
        for number, name in enumerate(key.keys, 1):
            press(layer, name)
            expected.append((key.action, number))
    assert calls == expected


def test_no_key_does_two_things() -> None:
    names = [name for key in keys.TABLE for name in key.keys]
    assert len(names) == len(set(names)) and keys.BEFORE_AFTER not in names


def test_napari_keeps_space_and_p(heard) -> None:
    layer = Points(ndim=2)
    keys.bind(layer, heard[0], editable=True)
    bound = {str(key) for key in layer.keymap}
    assert not bound & {"Space", "P", "S", "A", "V"}


def test_other_layers_keep_their_keys(heard) -> None:
    ours, other = Points(ndim=2), Points(ndim=2)
    keys.bind(ours, heard[0])
    assert not other.keymap


def test_on_the_slide_and_on_regions_deleting_stays_naparis(heard) -> None:
    layer = Shapes(ndim=2)
    keys.bind(layer, heard[0])
    bound = {str(key) for key in layer.keymap}
    assert not bound & {"Delete", "Backspace", "X", "R"}
    assert {"C", "Ctrl+Z", "1", "9"} <= bound


def test_unbinding_leaves_nothing(heard) -> None:
    layer = Points(ndim=2)
    keys.bind(layer, heard[0], editable=True)
    keys.unbind(layer)
    assert not layer.keymap


def test_the_help_sheet_tells_every_key() -> None:
    sheet = keys.help_sheet()
    for key in keys.TABLE:
        assert key.help in sheet and key.title in sheet
    assert "Ctrl+Shift+Z" in sheet and "1 – 9" in sheet and "Space" in sheet
    assert f"<b>{keys.BEFORE_AFTER}</b>" in sheet


def test_tooltips_name_the_keys() -> None:
    assert keys.with_keys("Undo", "undo") == "Undo (Ctrl+Z)"


def test_what_the_left_hand_needs_is_on_the_left() -> None:
    left = set("123456QWERTASDFGZXCVB")
    for key in keys.TABLE:
        if key.action not in ("rename", "help"):
            assert any(name.split("-")[-1] in left for name in key.keys), key.action
