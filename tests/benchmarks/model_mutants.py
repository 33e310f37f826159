"""Whether any model folder can hurt the program: damaged and hostile copies, used as a user would use them.

    python tests/benchmarks/model_mutants.py --json [--count 500] [--seed 0] [--only NUMBER …]

Folders are copies of shipped models, and of small MIL models of each kind, in which something is changed:
values, nesting or bytes of the configuration; head, numbers, type or bytes of the weights; statistics; a
pickle, a pipe, a folder or the file of another model in place of one; a program that is named as encoder. A
child process predicts with each. It works, with finite numbers, or is refused in one line. Anything else has
failed, above all code that was run. The exit code is 1 if any failed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mutant_child import Report, answer, load_model
from mutants import Child
from text_mutations import bytes_changed, json_changed, values_changed

CONFIG, WEIGHTS, STATISTICS = "config.json", "model.safetensors", "familiarity.safetensors"

RUN = "code-was-run"
"""File that hostile code makes."""

MEMORY = 2 << 30

MADE = ("abmil", "clam_sb", "clam_mb", "transmil", "dsmil", "msmil", "maxmil")

KINDS = ("pickle", "pipe", "folder", "nothing", "empty", "other", "loop", "device", "program")
"""What takes the place of a file."""


class Payload:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


def program(mark: Path) -> bytes:
    """A TorchScript file that makes a file when it is run."""
    import io

    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mark = str(mark)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            torch.save(images, self.mark)
            return images.flatten(1)[:, :128]

    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Encoder()), file)
    return file.getvalue()


def weights_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Weights with another head, other numbers, or of another type."""
    from safetensors.numpy import load, save

    kind, tensors = rng.integers(4), load(content)
    if kind == 0 or not tensors:
        length = int.from_bytes(content[:8], "little")
        head = values_changed(content[8 : 8 + length], rng)
        stated = len(head) if rng.integers(4) else int(rng.choice([0, 7, 2**31, 2**62, len(content)]))
        return stated.to_bytes(8, "little") + head + content[8 + length :]
    if kind == 1:
        return bytes_changed(content, rng)
    name = list(tensors)[rng.integers(len(tensors))]
    tensor = np.atleast_1d(tensors[name].copy())
    if kind == 2:
        tensor.flat[rng.integers(tensor.size)] = rng.choice([math.nan, math.inf, -math.inf])
    elif rng.integers(2):
        tensor = tensor[:-1]
    else:
        tensor = tensor.astype(("int8", "uint8", "float16", "float64", "bool", "int64")[rng.integers(6)])
    return save(tensors | {name: tensor})


def exchange(folder: Path, others: list[Path], rng: np.random.Generator) -> str:
    """Something else in place of a file, or another name of an encoder."""
    path = folder / (CONFIG, WEIGHTS, STATISTICS)[rng.integers(3)]
    kind = KINDS[rng.integers(len(KINDS))]
    if kind == "program":
        config, file = json.loads((folder / CONFIG).read_text()), folder / "encoder.pt"
        file.write_bytes(program(folder / RUN))
        names = (str(file), file.name, f"local-dir:{folder}", f"../{folder.name}/{file.name}")
        config["encoder"] = names[rng.integers(len(names))]
        (folder / CONFIG).write_text(json.dumps(config))
        return f"a program as encoder {config['encoder']}"
    path.unlink(missing_ok=True)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(folder / RUN)))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "other":
        source = others[rng.integers(len(others))] / path.name
        path.write_bytes(source.read_bytes() if source.exists() else b"{}")
    elif kind in ("loop", "device"):
        path.symlink_to(path if kind == "loop" else "/dev/zero")
    return f"{kind} as {path.name}"


def mutate(folder: Path, others: list[Path], rng: np.random.Generator) -> str:
    """Change a model folder and say how."""
    chance = rng.random()
    if chance < 0.2:
        return exchange(folder, others, rng)
    name, change = (
        (CONFIG, values_changed)
        if chance < 0.55
        else (CONFIG, json_changed)
        if chance < 0.65
        else (STATISTICS, weights_changed)
        if chance < 0.7 and (folder / STATISTICS).exists()
        else (WEIGHTS, weights_changed)
    )
    (folder / name).write_bytes(change((folder / name).read_bytes(), rng))
    return f"{change.__name__} in {name}"


def make_models(folder: Path) -> list[Path]:
    """Sound model folders: the shipped ones, and an untrained one of each kind."""
    import torch

    from napari_zoommil.model_folder import SHIPPED, find_model
    from napari_zoommil.models.registry import create
    from napari_zoommil.models.spec import ModelSpec, read_spec, save_model

    torch.manual_seed(0)
    found, demo = [find_model(name) for name in SHIPPED], read_spec("demo")
    for name in MADE:
        sizes = {"in_features": 128, "classes": 2, "magnifications": [5.0]}
        model = create(name, **sizes)
        spec = ModelSpec(name, model.config(), "nic", demo.encoder_hash, 128, ("normal", "tumour"), 0.01)
        save_model(folder / name, model, spec, "")
        found.append(folder / name)
    return found


def make_slides(folder: Path) -> tuple[Path, Path]:
    """A slide with a patch or two, and a small one for cells."""
    import tifffile

    from napari_zoommil.slides import Slide
    from napari_zoommil.synthetic import SyntheticSlide

    whole, part = folder / "whole.tif", folder / "part.tif"
    SyntheticSlide(1, 2048, texture_px=512).write(whole, workers=1)
    with Slide.open(whole) as slide:
        pixels = slide.read_level(0, 800, 800, 320, 320)
    tifffile.imwrite(part, pixels, tile=(64, 64), resolution=(40_000, 40_000), resolutionunit="CENTIMETER")
    return whole, part


def use(folder: Path, whole: Path, part: Path) -> Report:
    """Predict with a model, and look for what its code did."""
    from napari_zoommil.errors import ZoomMILError
    from napari_zoommil.jobs import detect, predict, run
    from napari_zoommil.jobs.estimate import estimate
    from napari_zoommil.model_folder import kind_of

    report: Report
    try:
        if kind_of(folder) == "mil":
            estimate(whole, model=str(folder))
            values = run(predict(whole, model=str(folder), device="cpu", threads=1, workers=1)).values
        else:
            found = run(detect(part, model=str(folder), device="cpu", threads=1)).finds
            values = np.append(found.boxes.ravel(), found.scores)
        sound = np.isfinite(values).all()
        report = {"outcome": "worked"} if sound else {"failure": "no numbers", "detail": str(values)}
    except ZoomMILError as error:
        report = {"outcome": "refused", "said": {"use": str(error)}}
    except BaseException:
        report = {"failure": "exception", "detail": traceback.format_exc()}
    if (folder / RUN).exists():
        report = {"failure": "code was run", "detail": str(report)}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the result is always JSON; kept for uniformity")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of each folder")
    parser.add_argument("--minutes", type=float, default=math.inf, help="do not begin a folder after that")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the folders to try")
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return answer(partial(use, whole=args.child[0], part=args.child[1]), load_model)
    outcomes: Counter[str] = Counter()
    failures: list[Report] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        models, slides = make_models(work), make_slides(work)
        tried = Child([sys.executable, __file__, "--child", *map(str, slides)], args.seconds, MEMORY)
        for model in models:
            report = tried.ask(model)
            assert report.get("outcome") == "worked", f"{model.name} is not sound to begin with: {report}"
        end = time.monotonic() + 60 * args.minutes
        for number in args.only or range(args.count):
            if time.monotonic() > end:
                break
            rng, source = np.random.default_rng([args.seed, number]), models[number % len(models)]
            folder = Path(shutil.copytree(source, work / f"{source.name}-{number}"))
            done = mutate(folder, models, rng)
            report = tried.ask(folder)
            outcomes[report["outcome"]] += 1
            if "failure" in report:
                failures.append({"number": number, "model": source.name, "mutation": done, **report})
                print(failures[-1], file=sys.stderr, flush=True)
            shutil.rmtree(folder)
        tried.close()
    kinds = Counter(one["failure"] for one in failures)
    found = {"seed": args.seed, "outcomes": outcomes, "by_failure": kinds, "failures": failures}
    print(json.dumps(found, indent=2, ensure_ascii=False))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
