"""Where shipped weights and pictures lie (at the top of a checkout, or inside an installed package), and the
user's cache."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path

PACKAGE = Path(__file__).parent


def resource_root() -> Path:
    """Folder ``resources``."""
    installed = PACKAGE / "resources"
    return installed if installed.is_dir() else PACKAGE.parent / "resources"


def resource(*parts: str) -> Path:
    """Path of a shipped file or folder.

    Raises
    ------
    FileNotFoundError
        If the installation is incomplete.
    """
    path = resource_root().joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; reinstall napari-zoommil")
    return path


def cache_folder() -> Path:
    """Where what can be made or downloaded again is kept, such as sample slides and features."""
    return user_cache_path("napari-zoommil")
