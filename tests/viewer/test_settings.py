"""Preferences › ZoomMIL."""

from __future__ import annotations

from napari_zoommil.viewer.settings import (
    ComputeSettings,
    allow_encoder,
    allowed_encoders,
    annotator,
    compute_settings,
    prefer_own_reader,
    set_annotator,
)


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


def test_allowed_encoders_are_remembered_once_each(monkeypatch) -> None:
    from napari.settings import get_plugin_settings

    hub = get_plugin_settings("napari-zoommil").hub
    monkeypatch.setattr(hub, "encoders", " hf-hub:a/b ")
    for name in ("resnet18", "hf-hub:a/b", "resnet18"):
        allow_encoder(name)
    assert allowed_encoders() == ("hf-hub:a/b", "resnet18") and hub.encoders == "hf-hub:a/b resnet18"


def test_scanners_own_formats_are_opened_without_a_question_and_nothing_is_stored(
    monkeypatch, tmp_path
) -> None:
    from napari import settings

    file = tmp_path / "settings.yaml"
    file.write_text("schema_version: 0.7.0\nplugins:\n  extension2reader:\n    '*.ndpi': another\n")
    own = settings.NapariSettings(config_path=file)
    monkeypatch.setattr("napari.settings.get_settings", lambda: own)
    prefer_own_reader()
    chosen = own.plugins.extension2reader
    assert chosen["*.svs"] == chosen["*.MRXS"] == "napari-zoommil" and "*.tif" not in chosen
    assert chosen["*.ndpi"] == "another" and "*.NDPI" not in chosen, "what the user has chosen counts"
    own.plugins.extension2reader = {**chosen, "*.lif": "third"}
    stored = file.read_text()
    assert "third" in stored and "another" in stored and "napari-zoommil" not in stored
