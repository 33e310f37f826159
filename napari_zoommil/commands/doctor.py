"""``doctor``: check the installation."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from napari_zoommil.commands.display import BINDINGS, has_display, missing_packages
from napari_zoommil.commands.options import Json
from napari_zoommil.commands.report import print_json
from napari_zoommil.model_folder import shipped

PACKAGES = (
    "napari-zoommil",
    "napari",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "openslide-python",
    "zarr",
    "dask",
)


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    ok: bool
    value: str


def doctor(*, json: Json = False) -> int:
    """Print the findings; returns 1 if a check failed."""
    findings = examine()
    if json:
        print_json([{f.name: {"ok": f.ok, "value": f.value} for f in findings}])
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name:<14} {finding.value}")
    return int(not all(finding.ok for finding in findings))


def examine() -> list[Finding]:
    """Check versions, device, display and shipped weights."""
    findings = [Finding("Python", True, f"{platform.python_version()} on {platform.platform()}")]
    findings += [_package(name) for name in PACKAGES]
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("OpenSlide", _openslide),
        ("device", _device),
        ("model demo", _model),
        *((f"model {name}", partial(_cell_model, name)) for name in shipped("cells")),
    )
    for name, check in checks:
        try:
            findings.append(Finding(name, True, check()))
        except Exception as error:  # every error is a finding
            findings.append(Finding(name, False, f"{type(error).__name__}: {error}"))
    return [*findings, *_window()]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, f"not installed: pip install {name}")


def _openslide() -> str:
    import openslide

    return str(openslide.__library_version__)


def _device() -> str:
    from napari_zoommil.encoders.device import choose_device

    device = choose_device()
    return f"{device.torch} ({device.reason})"


def _model() -> str:
    from napari_zoommil.encoders import encoder_of_model
    from napari_zoommil.models.spec import load_model

    _, spec = load_model("demo")
    encoder_of_model("demo", spec.encoder, spec.encoder_hash)
    return f"{spec.architecture} on {spec.encoder} ({spec.encoder_hash})"


def _cell_model(name: str) -> str:
    from napari_zoommil.cells.model import load_cell_model

    _, spec = load_cell_model(name)
    return f"{', '.join(one.name for one in spec.classes)} at {spec.mpp:g} µm/px"


def _window() -> list[Finding]:
    found = [name for name in BINDINGS if _package(name).ok]
    missing = missing_packages()
    libraries = f"apt-get install {' '.join(missing)}" if missing else "complete"
    headless = not has_display()  # then Qt is not needed
    return [
        Finding(
            "Qt binding",
            bool(found) or headless,
            ", ".join(found) or "none: pip install 'napari-zoommil[all]'",
        ),
        Finding("Qt libraries", not missing or headless, libraries),
        Finding("display", True, "yes" if has_display() else "none: windows cannot be shown, commands work"),
    ]
