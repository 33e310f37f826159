"""Train the shipped ZoomMIL model on synthetic slides with slide labels only.

A colour-only baseline (the same model on mean RGB) is trained too, and both are evaluated on slides of
new seeds: accuracy, and the share of the attention in the planted region.

    python -m napari_zoommil.experiments.shipped.demo_model --work FOLDER --out resources/models/demo
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from napari_zoommil.bags import FeatureCache
from napari_zoommil.experiments.shipped.nic_encoder import TEST_TEXTURES, TRAIN_TEXTURES
from napari_zoommil.files import write_table
from napari_zoommil.jobs import Progress, embed, run, train
from napari_zoommil.maps.agreement import attention_agreement
from napari_zoommil.model_card import markdown_table, model_card
from napari_zoommil.models.spec import load_model, save_model
from napari_zoommil.synthetic import SyntheticSlide

MAGNIFICATIONS = (5.0, 10.0, 20.0)
LABELS = ("normal", "tumour")

NOT_FOR = (
    "Not for real tissue, and not for diagnosis: it was trained on synthetic slides only. Its probabilities "
    "are near 0 or 1 on real slides too, and have no meaning there."
)


@dataclass(frozen=True)
class DemoRecipe:
    """Cohort and fit. The splits have different seeds, and test slides have different textures."""

    train: int = 80
    val: int = 20
    test: int = 30
    first_seed: int = 20_000
    smallest: int = 6_144
    largest: int = 12_288
    patch_size: int = 128
    k: int = 12
    epochs: int = 60
    learning_rate: float = 2e-4


def cohort(recipe: DemoRecipe) -> Iterator[tuple[str, SyntheticSlide, str]]:
    """(name, slide, split) of every slide; half of them have a tumour, sizes and shares vary."""
    number = 0
    for split in ("train", "val", "test"):
        for _ in range(getattr(recipe, split)):
            rng = np.random.default_rng(recipe.first_seed + number)
            size = int(rng.integers(recipe.smallest // 1024, recipe.largest // 1024 + 1)) * 1024
            tumour = number % 2 == 1
            textures = TEST_TEXTURES if split == "test" else TRAIN_TEXTURES
            texture = textures[number * len(textures) // getattr(recipe, split) % len(textures)]
            slide = SyntheticSlide(
                recipe.first_seed + number, size, tumour, float(rng.uniform(0.03, 0.12)), texture
            )
            yield f"{LABELS[tumour]}_{number:03d}.tif", slide, split
            number += 1


def write_cohort(recipe: DemoRecipe, folder: Path) -> Path:
    """Write missing slides, and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, slide, split in cohort(recipe):
        if not (folder / name).is_file():
            slide.write(folder / name)
            print(f"{name}: {slide.size} px", flush=True)
        rows.append({"slide": name, "label": name.split("_")[0], "split": split})
    table = folder / "cohort.csv"
    write_table(table, ("slide", "label", "split"), rows)
    return table


def fit(recipe: DemoRecipe, table: Path, work: Path, encoder: str) -> Path:
    """Train on the cohort with an encoder; returns the model folder."""

    def show(progress: Progress) -> None:
        if progress.done % 200 == 0:
            print(f"{encoder}: {progress.note}", flush=True)

    job = train(
        table,
        "zoommil",
        store=work / "features",
        out=work / f"model-{Path(encoder).name}",
        encoder=encoder,
        magnifications=MAGNIFICATIONS,
        patch_size=recipe.patch_size,
        options={"k": recipe.k},
        epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        overwrite=True,
    )
    return run(job, show).model


def judge(recipe: DemoRecipe, model: Path, work: Path, of: str = "test") -> dict[str, float]:
    """Metrics on the slides of a split."""
    mil, spec = load_model(model)
    cache, size = FeatureCache(work / "features"), recipe.patch_size
    right, chances, truth, inside, expected = [], [], [], [], []
    for name, slide, split in cohort(recipe):
        if split != of:
            continue
        path = work / "slides" / name
        job = embed(path, spec.encoder, magnifications=MAGNIFICATIONS, store=cache.folder, patch_size=size)
        bag = run(job).bag(cache)
        with torch.no_grad():
            output = mil(bag)
        chance = float(spec.task.link(output.logits)[spec.class_names.index("tumour")])
        right.append((chance > 0.5) == slide.tumour)
        chances.append(chance)
        truth.append(slide.tumour)
        if slide.tumour:
            found = [
                attention_agreement(bag.grid, s.level, s.rows, s.attention.numpy(), slide.outline())
                for s in output.steps
            ]
            inside.append([each.inside for each in found])
            expected.append([each.expected for each in found])
    auc = float(binary_auroc(torch.tensor(chances), torch.tensor(truth)))
    figures = {"accuracy": float(np.mean(right)), "auc": auc}
    for index, magnification in enumerate(MAGNIFICATIONS):
        figures[f"attention inside at {magnification:g}x"] = float(np.mean(inside, 0)[index])
        figures[f"tumour's share of patches read at {magnification:g}x"] = float(np.mean(expected, 0)[index])
    return figures


def card(recipe: DemoRecipe, figures: dict[str, float], baseline: dict[str, float]) -> str:
    """Model card for the hub."""
    rows = ((name, f"{value:.3f}", f"{baseline[name]:.3f}") for name, value in figures.items())
    text = f"""
Classifies synthetic H&E-like slides with and without a planted tumour-like region, and shows its attention.

ZoomMIL (Thandiackal 2022) at 5x → 10x → 20x, patches of {recipe.patch_size} px at every magnification,
K = {recipe.k}, encoder `nic`. Trained with slide labels only on {recipe.train} slides of
{recipe.smallest:,} to {recipe.largest:,} px at 40x, model chosen on {recipe.val} others.

Metrics on {recipe.test} slides of new seeds and textures, half of them with a tumour, compared with the
same model on mean RGB (colour only):

{markdown_table(("figure", "nic", "mean RGB"), rows)}

*Attention inside*: share of the softmax attention in the planted region, averaged over tumour slides; the
row below it is the share for uniform attention over the patches read.

Made by `python -m napari_zoommil.experiments.shipped.demo_model`; what it was trained on is compared with
every slide by the statistics of `python -m napari_zoommil.experiments.shipped.demo_familiarity`.
"""
    tags = ["multiple-instance-learning", "zoommil", "synthetic"]
    title = "demo: ZoomMIL on synthetic slides"
    return model_card(title, text, tags=tags, license="bsd-3-clause", not_for=NOT_FOR)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for slides and features (about 2 GB)"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slides-only", action="store_true", help="write the cohort and stop")
    args = parser.parse_args()
    recipe = DemoRecipe()
    table = write_cohort(recipe, args.work / "slides")
    if args.slides_only:
        return
    figures, baseline = (
        judge(recipe, fit(recipe, table, args.work, name), args.work) for name in ("nic", "mean-rgb")
    )
    mil, spec = load_model(args.work / "model-nic")
    training = {**spec.training, "test": figures, "test_mean_rgb": baseline}
    save_model(args.out, mil, replace(spec, training=training), card(recipe, figures, baseline))
    print(card(recipe, figures, baseline))
    shutil.rmtree(args.work / "model-mean-rgb")


if __name__ == "__main__":
    main()
