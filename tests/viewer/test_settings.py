"""Preferences › ZoomMIL."""

from __future__ import annotations

from napari_zoommil.viewer.settings import ComputeSettings, annotator, compute_settings, set_annotator


def test_defaults_are_those_of_the_manifest() -> None:
    assert compute_settings() == ComputeSettings()


def test_what_the_user_chose_is_used(monkeypatch) -> None:
    from napari.settings import get_plugin_settings

    chosen = get_plugin_settings("napari-zoommil").compute
    monkeypatch.setattr(chosen, "batch_size", 16)
    assert compute_settings().batch_size == 16


def test_the_annotator_is_the_login_until_named(monkeypatch) -> None:
    from napari.settings import get_plugin_settings

    monkeypatch.setattr("getpass.getuser", lambda: "login")
    chosen = get_plugin_settings("napari-zoommil").annotation
    monkeypatch.setattr(chosen, "annotator", "")
    assert annotator() == "login"
    set_annotator(" Dr Who ")
    assert annotator() == "Dr Who"
