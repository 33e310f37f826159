"""The plugin's page in napari's Preferences; its defaults where napari has no such page."""

from __future__ import annotations

from dataclasses import dataclass

PLUGIN = "napari-zoommil"


@dataclass(frozen=True)
class ComputeSettings:
    """How models run. Defaults are those of the manifest."""

    device: str = "auto"
    batch_size: int = 64


def compute_settings() -> ComputeSettings:
    """What the user chose in Preferences."""
    try:
        from napari.settings import get_plugin_settings

        chosen = get_plugin_settings(PLUGIN).compute
        return ComputeSettings(str(getattr(chosen.device, "value", chosen.device)), int(chosen.batch_size))
    except (ImportError, AttributeError, KeyError):
        return ComputeSettings()
