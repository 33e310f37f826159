"""Train the shipped small encoder: NIC's architecture on synthetic tissue and free real tiles.

Two tasks share the network. On synthetic patches at 5x, 10x and 20x it classifies the tissue type, with
one head per magnification (the supervised method of Tellez et al. 2019, sec. 3.1). On real tiles without
labels it is trained with a contrastive loss (SimCLR), to adapt to real stains and textures. Stains are
always perturbed in optical density, so that the encoder does not rely on colour.

    python -m napari_zoommil.experiments.shipped.nic_encoder --tiles FOLDER --out resources/encoders/nic
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save
from skimage.color.colorconv import hed_from_rgb, rgb_from_hed
from torch import Tensor, nn

from napari_zoommil import familiarity
from napari_zoommil.encoders.encoder import weights_hash
from napari_zoommil.encoders.networks import NICEncoder
from napari_zoommil.encoders.registry import NIC_PREPROCESSING
from napari_zoommil.familiarity.descriptors import describe
from napari_zoommil.files import make_folder, write_file, write_json
from napari_zoommil.model_folder import CONFIG, FORMAT, WEIGHTS, keep_familiarity
from napari_zoommil.synthetic import SyntheticSlide

PATCH, CODE = 128, 64
"""Edge of a patch, and of the encoder's input after 2×2 averaging, px."""

BASE_MPP = 0.25
DOWNSAMPLES = (8, 4, 2)  # 5x, 10x and 20x of a 40x slide
LABEL_STEP = 16
PURITY = 0.6
"""Least share of a patch that a tissue type covers to be its label."""

TRAIN_TEXTURES, TEST_TEXTURES = (1, 2, 3), (4,)
"""Texture banks; a network may overfit to a bank, so others are used for testing."""

Patches = NDArray[np.uint8]


@dataclass(frozen=True)
class EncoderRecipe:
    """Settings of the fit; training and test slides share neither seeds nor textures."""

    slides: int = 40
    per_slide: int = 480
    steps: int = 800
    batch: int = 96
    real_batch: int = 16
    learning_rate: float = 2e-3
    first_seed: int = 1000
    seed: int = 0


def labelled_patches(seed: int, count: int, texture_seed: int) -> Iterator[tuple[Patches, int, int]]:
    """Patches (64, 64, 3) of a synthetic slide with tissue type and magnification; types are balanced."""
    rng = np.random.default_rng(seed)
    slide = SyntheticSlide(seed, 8192, True, 0.12, texture_seed)
    labels = slide.label_map(LABEL_STEP)
    for number in range(count):
        which = number % len(DOWNSAMPLES)
        size = PATCH * DOWNSAMPLES[which] // LABEL_STEP
        wanted = 1 + int(rng.integers(len(slide.tissue_types) - 1))
        ys, xs = np.nonzero(labels == wanted)
        if not len(ys):
            continue
        pick = rng.integers(len(ys))
        y, x = (int(np.clip(v[pick] - size // 2, 0, labels.shape[0] - size)) for v in (ys, xs))
        if (labels[y : y + size, x : x + size] == wanted).mean() < PURITY:
            continue
        scale = LABEL_STEP // DOWNSAMPLES[which]
        pixels = slide.read(y * scale, x * scale, PATCH, PATCH, DOWNSAMPLES[which])
        yield np.asarray(Image.fromarray(pixels).reduce(PATCH // CODE)), wanted - 1, which


def real_patches(folder: Path, count: int, seed: int) -> Patches:
    """Random squares of 64 to 256 px from all PNG tiles below a folder, (count, 64, 64, 3)."""
    rng = np.random.default_rng(seed)
    paths = sorted(path for path in folder.rglob("*.png") if "_instances" not in path.name)
    tiles = [Image.open(path).convert("RGB") for path in paths]
    tiles = [tile for tile in tiles if min(tile.size) >= CODE]
    found = []
    for _ in range(count):
        tile = tiles[rng.integers(len(tiles))]
        edge = int(rng.integers(CODE, min(256, *tile.size) + 1))
        x, y = (int(rng.integers(0, extent - edge + 1)) for extent in tile.size)
        found.append(np.asarray(tile.resize((CODE, CODE), Image.Resampling.BOX, (x, y, x + edge, y + edge))))
    return np.stack(found)


def augment(patches: Tensor) -> Tensor:
    """(B, 3, 64, 64) in [0, 1] with random flips, rotations, crops, stain and brightness."""
    patches = patches.flip([axis for axis in (2, 3) if torch.rand(()) < 0.5])
    patches = patches.transpose(2, 3) if torch.rand(()) < 0.5 else patches
    if torch.rand(()) < 0.5:
        edge = int(torch.randint(52, CODE, ()))
        y, x = (int(torch.randint(0, CODE - edge + 1, ())) for _ in range(2))
        patches = F.interpolate(patches[..., y : y + edge, x : x + edge], (CODE, CODE), mode="bilinear")
    return perturb_stain(patches)


def perturb_stain(patches: Tensor, strength: float = 0.35) -> Tensor:
    """Scale and shift haematoxylin, eosin and the residual separately, in optical density."""
    to_hed = torch.as_tensor(hed_from_rgb, dtype=patches.dtype)
    to_rgb = torch.as_tensor(rgb_from_hed, dtype=patches.dtype)
    density = -torch.log(patches.clamp(min=1 / 255)).permute(0, 2, 3, 1) @ to_hed
    scale = 1 + strength * (2 * torch.rand(len(patches), 1, 1, 3) - 1)
    shift = 0.03 * (2 * torch.rand(len(patches), 1, 1, 3) - 1)
    return torch.exp(-((density * scale + shift) @ to_rgb)).clamp(0, 1).permute(0, 3, 1, 2)


def contrastive_loss(codes: Tensor, temperature: float = 0.2) -> Tensor:
    """NT-Xent loss of (2B, D) codes whose halves are two views of the same patches."""
    codes = F.normalize(codes, dim=1)
    likeness = (codes @ codes.T / temperature).fill_diagonal_(-1e9)
    half = len(codes) // 2
    partner = torch.cat([torch.arange(half, 2 * half), torch.arange(half)])
    return F.cross_entropy(likeness, partner)


def tensor_of(patches: Patches) -> Tensor:
    """(B, 64, 64, 3) uint8 → (B, 3, 64, 64) float in [0, 1]."""
    return torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255


class TwoTasks(nn.Module):
    """The encoder with its training heads, which are discarded afterwards."""

    def __init__(self, types: int) -> None:
        super().__init__()
        self.encoder = NICEncoder()
        self.names = nn.ModuleList(nn.Linear(128, types) for _ in DOWNSAMPLES)
        self.project = nn.Sequential(nn.ReLU(), nn.Linear(128, 64))

    def forward(self, patches: Tensor) -> Tensor:
        return self.encoder(patches * 2 - 1)


def dataset(
    seeds: range, per_slide: int, textures: tuple[int, ...]
) -> tuple[Patches, NDArray[np.int64], NDArray[np.int64]]:
    """Patches, tissue types and magnifications of many slides, grouped by texture."""
    rows = [
        row
        for texture, block in zip(textures, np.array_split(seeds, len(textures)), strict=True)
        for seed in block
        for row in labelled_patches(int(seed), per_slide, texture)
    ]
    patches, types, which = zip(*rows, strict=True)
    return np.stack(patches), np.array(types), np.array(which)


def accuracy(model: TwoTasks, data: tuple[Patches, NDArray[np.int64], NDArray[np.int64]]) -> list[float]:
    """Accuracy at each magnification."""
    patches, types, which = data
    model.eval()
    with torch.no_grad():
        codes = torch.cat(
            [model(tensor_of(part)) for part in np.array_split(patches, max(1, len(patches) // 256))]
        )
        guesses = [head(codes).argmax(1).numpy() for head in model.names]
    return [float((guesses[i] == types)[which == i].mean()) for i in range(len(DOWNSAMPLES))]


def fit(recipe: EncoderRecipe, tiles: Path) -> tuple[TwoTasks, dict[str, object]]:
    """Train; returns the model and its metrics on held-out slides."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    first = recipe.first_seed
    patches, types, which = dataset(range(first, first + recipe.slides), recipe.per_slide, TRAIN_TEXTURES)
    held_out = dataset(range(first + 900, first + 906), recipe.per_slide, TEST_TEXTURES)
    real = real_patches(tiles, 4000, recipe.seed)
    model = TwoTasks(int(types.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps)
    for step in range(recipe.steps):
        model.train()
        rows = rng.integers(len(patches), size=recipe.batch)
        own = augment(tensor_of(patches[rows]))
        other = tensor_of(real[rng.integers(len(real), size=recipe.real_batch)])
        codes = model(torch.cat([own, augment(other), augment(other)]))
        logits = torch.stack([head(codes[: recipe.batch]) for head in model.names], 1)
        named = logits[torch.arange(recipe.batch), torch.from_numpy(which[rows])]
        loss = F.cross_entropy(named, torch.from_numpy(types[rows]))
        loss = loss + 0.3 * contrastive_loss(model.project(codes[recipe.batch :]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(
                f"step {step + 1}: loss {float(loss):.3f}, held out {accuracy(model, held_out)}", flush=True
            )
    figures = {"patches": len(patches), "held_out_accuracy_5x_10x_20x": accuracy(model, held_out)}
    return model, figures


def statistics(encoder: NICEncoder, recipe: EncoderRecipe) -> familiarity.Familiarity | None:
    """Statistics of the synthetic training patches at each magnification; texture banks are groups."""
    encoder.eval()
    samples = []
    blocks = np.array_split(range(recipe.first_seed, recipe.first_seed + recipe.slides), len(TRAIN_TEXTURES))
    for texture, block in zip(TRAIN_TEXTURES, blocks, strict=True):
        for seed in block:
            rows = list(labelled_patches(int(seed), recipe.per_slide // 4, texture))
            patches, which = np.stack([row[0] for row in rows]), np.array([row[2] for row in rows])
            with torch.no_grad():
                codes = encoder(tensor_of(patches) * 2 - 1).numpy()
            at = [which == number for number in range(len(DOWNSAMPLES))]
            levels = (familiarity.Patches(describe(patches[one]), codes[one], int(one.sum())) for one in at)
            samples.append(familiarity.SlideSample(str(seed), tuple(levels)))
    mpps = [BASE_MPP * PATCH / CODE * one for one in DOWNSAMPLES]
    own = weights_hash(encoder, NIC_PREPROCESSING)
    return familiarity.fitted(samples, mpps=mpps, patch_size=CODE, encoder_hash=own)


def keep_statistics(encoder: NICEncoder, recipe: EncoderRecipe, folder: Path) -> None:
    """Write what the encoder was trained on beside its weights."""
    known = statistics(encoder, recipe)
    if known is not None:
        write_json(folder / CONFIG, {"kind": "encoder", "format": FORMAT})
        keep_familiarity(folder, known)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=Path, help="folder of free real tiles (PNG)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=EncoderRecipe.steps)
    parser.add_argument("--statistics-only", action="store_true", help="add statistics to what is there")
    args = parser.parse_args()
    if args.statistics_only:
        encoder = NICEncoder()
        encoder.load_state_dict(load_file(args.out / WEIGHTS))
        return keep_statistics(encoder, EncoderRecipe(), args.out)
    if args.tiles is None:
        parser.error("a training needs --tiles")
    model, figures = fit(EncoderRecipe(steps=args.steps), args.tiles)
    make_folder(args.out)
    state = {key: value.contiguous() for key, value in model.encoder.eval().state_dict().items()}
    write_file(args.out / WEIGHTS, save(state))
    write_json(args.out / "figures.json", figures)
    keep_statistics(model.encoder, EncoderRecipe(steps=args.steps), args.out)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
