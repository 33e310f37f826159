"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_zoommil.geometry import PatchGrid, PatchLevel, child_lattice, full_lattice, zoom_ratios

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported

hypothesis.settings.register_profile("tests", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Spare the garbage collector what is imported: napari runs a full collection for each removed layer."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


imported = 0
"""Number of modules when garbage was last collected because of them."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Spare it what tests import, too: torch alone is most of all objects."""
    global imported
    if len(sys.modules) > imported + 100:
        gc.collect()
        gc.freeze()
        imported = len(sys.modules)


DISC_MPP, DISC_PX = 0.5, 20
"""Resolution and diameter of the discs of the fixture `discs`."""


@pytest.fixture(scope="session", autouse=True)
def features_of_shared_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's own features are neither read nor written."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_zoommil.bags.cache.cache_folder", lambda: folder)
        patch.setattr("napari_zoommil.jobs.pace.cache_folder", lambda: folder)
        yield


@pytest.fixture(autouse=True)
def torch_keeps_its_threads() -> Iterator[None]:
    """More of them than cores wait for each other: whatever a test leaves, all later ones pay for."""
    yield
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    if threads != int(os.environ["OMP_NUM_THREADS"]):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        pytest.fail(f"torch was left with {threads} threads")


@pytest.fixture(autouse=True)
def users_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of pixel sizes that are set: each test begins without any."""
    folder = tmp_path_factory.getbasetemp() / f"user-{uuid.uuid4().hex}"
    monkeypatch.setattr("napari_zoommil.slides.pixel_size.user_data_path", lambda _: folder)
    return folder / "pixel-sizes"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the features that jobs keep by themselves: each test begins without any."""
    folder = tmp_path_factory.getbasetemp() / f"cache-{uuid.uuid4().hex}"
    for module in ("bags.cache", "jobs.prediction_store", "jobs.pace"):
        monkeypatch.setattr(f"napari_zoommil.{module}.cache_folder", lambda: folder)
    return folder / "features"


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real slides, from NAPARI_ZOOMMIL_DATA; tests that need it skip without."""
    folder = os.environ.get("NAPARI_ZOOMMIL_DATA")
    if not folder:
        pytest.skip("NAPARI_ZOOMMIL_DATA is not set: no real slides to test on")
    path = Path(folder).resolve()
    assert path.is_dir(), f"NAPARI_ZOOMMIL_DATA points at {path}, which is not a folder"
    return path


@pytest.fixture(scope="session")
def cmu(data: Path) -> Path:
    """A real Aperio slide: one level, 2220×2967 px, 0.499 µm/px, label and macro."""
    return data / "slides" / "CMU-1-Small-Region.svs"


@dataclass(frozen=True)
class ArrayBag:
    """A bag whose features lie in memory."""

    grid: PatchGrid
    arrays: tuple[NDArray[np.float32], ...]
    encoder_hash: str = ""

    def features(self, level: int, rows: NDArray[np.int64]) -> Any:
        import torch

        return torch.from_numpy(self.arrays[level][rows])


@pytest.fixture(scope="session")
def make_grid() -> Callable[..., PatchGrid]:
    """Nested grids of a rows × columns lattice; ``keep`` is the share of finer patches that are there."""

    def make(
        rows: int, columns: int, magnifications: tuple[float, ...], keep: float = 1.0, patch_size: int = 8
    ) -> PatchGrid:
        rng = np.random.default_rng(rows * columns)
        ratios = zoom_ratios(magnifications)
        stride = float(patch_size * np.prod(ratios))
        shape = (int(rows * stride), int(columns * stride))
        cells = full_lattice(shape, (stride, stride))
        parent = np.full(len(cells), -1, np.int64)
        levels = []
        for magnification, ratio in zip(magnifications, (*ratios, 1), strict=True):
            tissue = np.ones(len(cells), np.float32)
            levels.append(
                PatchLevel.from_lattice(
                    magnification, 10 / magnification, (stride, stride), cells, parent, tissue
                )
            )
            stride /= ratio
            cells, parent = child_lattice(cells, ratio, shape, (stride, stride))
            kept = rng.random(len(cells)) < keep
            cells, parent = cells[kept], parent[kept]
        return PatchGrid(shape, patch_size, tuple(levels))

    return make


@pytest.fixture(scope="session")
def make_bag() -> Callable[..., ArrayBag]:
    """Bags of standard normal features over a grid."""

    def make(grid: PatchGrid, dim: int, seed: int = 0) -> ArrayBag:
        rng = np.random.default_rng(seed)
        return ArrayBag(
            grid, tuple(rng.standard_normal((len(level), dim)).astype(np.float32) for level in grid.levels)
        )

    return make


@pytest.fixture(scope="session")
def make_slide() -> Callable[..., Path]:
    """Writes a tiled TIFF at 1 µm/px (10x): noisy tissue of one colour in the middle of white glass."""

    def make(path: Path, colour: tuple[int, int, int] | None, edge: int = 512, seed: int = 0) -> Path:
        import tifffile

        rng = np.random.default_rng(seed)
        pixels = np.full((edge, edge, 3), 245, np.int16)
        if colour is not None:
            inner = slice(edge // 8, -edge // 8)
            pixels[inner, inner] = np.array(colour) + rng.integers(-9, 10, pixels[inner, inner].shape)
        tifffile.imwrite(
            path,
            pixels.clip(0, 255).astype(np.uint8),
            photometric="rgb",
            tile=(128, 128),
            resolution=(10_000, 10_000),
            resolutionunit="CENTIMETER",
        )
        return path

    return make


@dataclass(frozen=True)
class SpyEncoder:
    """A TorchScript file of mean colours, (B, 3), that leaves a file behind when it is loaded or called."""

    path: Path

    @property
    def hash(self) -> str:
        from napari_zoommil.encoders.registry import file_hash

        return file_hash(self.path)

    @property
    def ran(self) -> list[str]:
        """What of its code was run: ``loaded``, ``called``."""
        return sorted(proof.suffix[1:] for proof in self.path.parent.glob("proof.*"))


@pytest.fixture
def spy(tmp_path: Path) -> SpyEncoder:
    """Code in a file, as a stranger may put it into a model folder."""
    import torch

    class Spy(torch.nn.Module):
        def __init__(self, proof: str) -> None:
            super().__init__()
            self.proof = proof
            self.training = False

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            torch.save(torch.zeros(1), self.proof + ".called")
            return images.mean(dim=[2, 3])

        @torch.jit.export
        def __getstate__(self):  # type: ignore[no-untyped-def]
            return (self.proof, self.training)

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]):  # type: ignore[no-untyped-def]
            self.proof = state[0]
            self.training = state[1]
            torch.save(torch.zeros(1), self.proof + ".loaded")

    folder = tmp_path / "spy"
    folder.mkdir()
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # TorchScript is no longer made
        torch.jit.script(Spy(str(folder / "proof"))).save(str(folder / "net.pt"))
    return SpyEncoder(folder / "net.pt")


@pytest.fixture
def make_cell_model(tmp_path: Path) -> Callable[..., str]:
    """Writes an untrained cell model and returns its folder."""

    def make(architecture: str = "yollo", classes: int = 1, mpp: float = DISC_MPP, **config: Any) -> str:
        import torch

        from napari_zoommil.annotations import CLASS_CYCLE, CellClass
        from napari_zoommil.cells.model import create_cell_model, save_cell_model
        from napari_zoommil.cells.spec import CellSpec

        torch.manual_seed(0)
        named = tuple(CellClass(f"class {n}", CLASS_CYCLE[n], DISC_PX * DISC_MPP) for n in range(classes))
        spec = CellSpec(architecture, {"classes": classes, "width": 4} | config, mpp, named)
        folder = tmp_path / f"{architecture}-{classes}"
        save_cell_model(folder, create_cell_model(spec), spec, "# Test\n")
        return str(folder)

    return make


@pytest.fixture
def discs(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A slide of 640 × 800 px at 0.5 µm/px with 48 dark discs, and their centres (48, 2), px."""
    rng = np.random.default_rng(0)
    image = np.full((640, 800, 3), 225, np.uint8)
    centres = (np.indices((6, 8)).reshape(2, -1).T + 0.5) * 100 + rng.uniform(-25, 25, (48, 2)) + (20, 0)
    y, x = np.mgrid[:640, :800] + 0.5
    for centre in centres:
        image[np.hypot(y - centre[0], x - centre[1]) <= DISC_PX / 2] = (110, 60, 150)
    image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    per_cm = (1e4 / DISC_MPP, 1e4 / DISC_MPP)
    tifffile.imwrite(
        tmp_path / "discs.tif", image, tile=(128, 128), resolution=per_cm, resolutionunit="CENTIMETER"
    )
    return tmp_path / "discs.tif", centres


@pytest.fixture(scope="session")
def small_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic slide of 4096 px with a tumour, as a pyramidal TIFF."""
    from napari_zoommil.synthetic import SyntheticSlide

    path = tmp_path_factory.mktemp("slides") / "small.tif"
    SyntheticSlide(3, 4096, True, 0.12).write(path)
    return path


@pytest.fixture(autouse=True)
def slides_lose_their_annotations(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test saves beside a slide of the session is not opened with it by later ones."""
    shared = {"small_slide", "other_slide"} & set(request.fixturenames)
    folders = {request.getfixturevalue(name).parent for name in shared}
    yield
    for folder in folders:
        for left in folder.glob("*.points.*"):
            left.unlink()


@pytest.fixture(scope="session")
def other_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second slide, without a tumour."""
    from napari_zoommil.synthetic import SyntheticSlide

    path = tmp_path_factory.mktemp("slides") / "other.tif"
    SyntheticSlide(4, 3072, False).write(path)
    return path


@pytest.fixture(scope="session")
def colour_cohort(tmp_path_factory: pytest.TempPathFactory, make_slide: Callable) -> Path:
    """A table of ten small slides in two colours, three to train, one to validate and one to test of each."""
    folder = tmp_path_factory.mktemp("colours")
    lines = ["slide,label,split"]
    for label, colour in {"blue": (120, 90, 200), "pink": (215, 110, 160)}.items():
        for number, split in enumerate(("train", "train", "train", "val", "test")):
            make_slide(folder / f"{label}{number}.tif", colour, 256, number)
            lines.append(f"{label}{number}.tif,{label},{split}")
    (folder / "cohort.csv").write_text("\n".join(lines))
    return folder / "cohort.csv"
