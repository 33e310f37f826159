"""Statistics of what the shipped ZoomMIL model was trained on, without training it again.

They are of synthetic slides as those of its training, in more texture banks, because every bank looks a
little different and the sample slide has one of its own. Banks are held out as a whole.

    python -m napari_zoommil.experiments.shipped.demo_familiarity --work FOLDER --out resources/models/demo
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_zoommil.familiarity import Familiarity, SlideSample, fitted
from napari_zoommil.geometry import mpp_of
from napari_zoommil.jobs import Job, run
from napari_zoommil.jobs.familiarity import described
from napari_zoommil.jobs.model_on_slide import open_model_on_slide
from napari_zoommil.model_folder import keep_familiarity
from napari_zoommil.models.spec import read_spec
from napari_zoommil.slides import Slide
from napari_zoommil.synthetic import SyntheticSlide


@dataclass(frozen=True)
class KnownSlides:
    """Slides of the statistics; neither seeds nor sizes are those of the training."""

    slides: int = 48
    banks: int = 8
    first_seed: int = 90_000
    smallest: int = 6_144
    largest: int = 9_216

    def __iter__(self) -> Iterator[tuple[str, SyntheticSlide]]:
        """(name, slide) of each; half of them have a tumour."""
        for number in range(self.slides):
            seed = self.first_seed + number
            rng = np.random.default_rng(seed)
            size = int(rng.integers(self.smallest // 1024, self.largest // 1024 + 1)) * 1024
            bank = 1 + number * self.banks // self.slides
            slide = SyntheticSlide(seed, size, number % 2 == 1, float(rng.uniform(0.03, 0.12)), bank)
            yield f"{number:02d}.tif", slide


def sample(model: str, path: Path, group: str) -> Job[SlideSample]:
    """The patches that a model reads on a slide."""
    with ExitStack() as stack:
        opened = yield from open_model_on_slide(stack, path, model, store=path.parent / "features")
        yield from opened.look()
        assert isinstance(opened.slide, Slide)  # it was written here
        levels = yield from described(opened.slide, opened.grid, opened.read.rows, opened.features)
    return SlideSample(group, levels)


def statistics(model: str, work: Path, known: KnownSlides) -> Familiarity:
    """Write missing slides, read what the model reads on each, and fit.

    Raises
    ------
    ValueError
        If the slides are too few.
    """
    work.mkdir(parents=True, exist_ok=True)
    samples = []
    for name, slide in known:
        if not (work / name).is_file():
            slide.write(work / name)
        samples.append(run(sample(model, work / name, f"bank {slide.texture_seed}")))
        print(f"{name}: {[len(level.descriptors) for level in samples[-1].levels]} patches", flush=True)
    spec = read_spec(model)
    found = fitted(
        samples,
        mpps=[mpp_of(one) for one in spec.magnifications],
        patch_size=spec.patch_size,
        encoder_hash=spec.encoder_hash,
    )
    if found is None:
        raise ValueError("these slides have too few patches for statistics")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for slides (about 400 MB)")
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    args = parser.parse_args()
    found = statistics(str(args.out), args.work, KnownSlides())
    keep_familiarity(args.out, found)
    print(f"shares of held-out slides up to {max(found.shares):.3f}, limit {found.limit:.2f}")


if __name__ == "__main__":
    main()
