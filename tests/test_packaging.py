"""Each way of installing the package brings the manifest and the shipped weights, and finds them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED_FOLDERS = ("encoders", "models")

PROBE = """
import json, sys
from pathlib import Path

from npe2 import PluginManifest

import napari_zoommil
from napari_zoommil.resources import resource_root

package = Path(napari_zoommil.__file__).resolve().parent
found = PluginManifest.from_distribution("napari-zoommil")
beside = PluginManifest.from_file(package / "napari.yaml")
root = resource_root().resolve()
print(json.dumps({
    "package": str(package),
    "version": napari_zoommil.__version__,
    "manifest": found.name,
    "same_manifest": found.contributions == beside.contributions,
    "resources": str(root),
    "shipped": sorted(
        path.relative_to(root).as_posix()
        for folder in sys.argv[1:] for path in (root / folder).rglob("*") if path.is_file()
    ),
}))
"""


def shipped_files() -> list[str]:
    """What the checkout holds for shipping, relative to ``resources``."""
    resources = ROOT / "resources"
    files = (path for folder in SHIPPED_FOLDERS for path in (resources / folder).rglob("*") if path.is_file())
    return sorted(path.relative_to(resources).as_posix() for path in files)


def build(target: str, source: Path, out: Path) -> Path:
    """Build a wheel or sdist with what is installed already, so without a network."""
    out.mkdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True, timeout=120)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module", params=["checkout", "sdist"])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built straight from the checkout or by way of the source distribution."""
    tmp = tmp_path_factory.mktemp(f"from-{request.param}")
    if request.param == "checkout":
        return build("wheel", ROOT, tmp / "wheel")
    shutil.unpack_archive(build("sdist", ROOT, tmp / "sdist"), tmp / "unpacked")
    (source,) = (tmp / "unpacked").iterdir()
    return build("wheel", source, tmp / "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the wheel."""
    target = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return target


def probe(cwd: Path, *first: Path) -> dict[str, Any]:
    """What a fresh interpreter outside the checkout finds, with ``first`` ahead on its path."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if first:
        env["PYTHONPATH"] = os.pathsep.join(map(str, first))
    command = [sys.executable, "-c", PROBE, *SHIPPED_FOLDERS]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_wheel_holds_manifest_and_shipped_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        manifest = archive.read("napari_zoommil/napari.yaml")
    assert manifest == (ROOT / "napari_zoommil" / "napari.yaml").read_bytes()
    prefix = "napari_zoommil/resources/"
    assert sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix)) == shipped_files()
    assert not [name for name in names if not name.startswith(("napari_zoommil/", "napari_zoommil-"))]


def test_installed_wheel_finds_manifest_and_resources(installed: Path, tmp_path: Path) -> None:
    found = probe(tmp_path, installed)
    assert Path(found["package"]) == (installed / "napari_zoommil").resolve()
    assert found["manifest"] == "napari-zoommil" and found["same_manifest"]
    assert Path(found["resources"]) == (installed / "napari_zoommil" / "resources").resolve()
    assert found["shipped"] == shipped_files()


def test_editable_checkout_finds_manifest_and_resources(tmp_path: Path) -> None:
    origin = json.loads(distribution("napari-zoommil").read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        pytest.skip("napari-zoommil is not installed in editable mode here")
    found = probe(tmp_path)
    assert Path(found["package"]) == ROOT / "napari_zoommil"
    assert found["manifest"] == "napari-zoommil" and found["same_manifest"]
    assert Path(found["resources"]) == ROOT / "resources"
    assert found["shipped"] == shipped_files()


def test_top_level_manifest_is_the_packages() -> None:
    top = ROOT / "napari.yaml"
    if top.is_symlink():
        assert top.resolve() == ROOT / "napari_zoommil" / "napari.yaml"
    else:  # Git without symbolic links, as on Windows, writes the link's target as text
        assert top.read_text(encoding="utf-8").strip() == "napari_zoommil/napari.yaml"


def test_every_shipped_name_has_its_files() -> None:
    from napari_zoommil.encoders.registry import REGISTRY
    from napari_zoommil.model_folder import CARD, CONFIG, SHIPPED, WEIGHTS

    assert "nic" in REGISTRY and {"demo", "yollo", "unet", "haematoxylin"} == set(SHIPPED)
    models = {f"models/{name}/{file}" for name in SHIPPED for file in (CONFIG, WEIGHTS, CARD)}
    assert {"encoders/nic/model.safetensors", *models} <= set(shipped_files())
