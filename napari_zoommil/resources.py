"""Where shipped weights and pictures lie: at the top of a checkout, or inside an installed package."""

from __future__ import annotations

from pathlib import Path

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
