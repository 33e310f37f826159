"""The plugin's settings in napari's Preferences; defaults if napari has no such page."""

from __future__ import annotations

import getpass
from dataclasses import dataclass

from napari_zoommil.files import SLIDES_ONLY

PLUGIN = "napari-zoommil"


@dataclass(frozen=True)
class ComputeSettings:
    """Settings for running models; the defaults are those of the manifest."""

    device: str = "auto"
    batch_size: int = 64


def compute_settings() -> ComputeSettings:
    """The settings in Preferences."""
    try:
        from napari.settings import get_plugin_settings

        chosen = get_plugin_settings(PLUGIN).compute
        return ComputeSettings(str(getattr(chosen.device, "value", chosen.device)), int(chosen.batch_size))
    except (ImportError, AttributeError, KeyError):
        return ComputeSettings()


def allowed_encoders() -> tuple[str, ...]:
    """Encoders of the hub that the user has allowed models to use."""
    try:
        from napari.settings import get_plugin_settings

        return tuple(str(get_plugin_settings(PLUGIN).hub.encoders).split())
    except (ImportError, AttributeError, KeyError):
        return ()


def allow_encoder(name: str) -> None:
    """Allow models to use an encoder of the hub; not stored if napari has no such page."""
    try:
        from napari.settings import get_plugin_settings

        hub = get_plugin_settings(PLUGIN).hub
        hub.encoders = " ".join(dict.fromkeys((*str(hub.encoders).split(), name)))
    except (ImportError, AttributeError, KeyError):
        pass


def annotator() -> str:
    """The annotator: the name from Preferences or the dock, else the login name."""
    try:
        from napari.settings import get_plugin_settings

        if name := str(get_plugin_settings(PLUGIN).annotation.annotator).strip():
            return name
    except (ImportError, AttributeError, KeyError):
        pass
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def set_annotator(name: str) -> None:
    """Store the annotator; only for this window if napari has no such page."""
    try:
        from napari.settings import get_plugin_settings

        get_plugin_settings(PLUGIN).annotation.annotator = name.strip()
    except (ImportError, AttributeError, KeyError):
        pass


def prefer_own_reader() -> None:
    """Let this plugin open scanners' own formats without a question, until napari is closed.

    A preference that the user has stored counts. Nothing is stored: napari does not write what is named in
    ``env_settings``, which is meant for settings of one session.
    """
    try:
        from napari.settings import get_settings

        settings = get_settings()
        stored = settings.plugins.extension2reader
        own = {
            f"*{written}": PLUGIN
            for ending in SLIDES_ONLY
            for written in (ending, ending.upper())
            if f"*{ending}" not in stored
        }
        temporary = settings.env_settings.setdefault("plugins", {}).setdefault("extension2reader", {})
        temporary.update(own)
        stored.update(own)  # in place, which napari does not take for an edit
    except (ImportError, AttributeError):
        pass
