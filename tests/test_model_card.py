from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

from huggingface_hub import ModelCard

from napari_zoommil.experiments.shipped import demo_model
from napari_zoommil.model_card import body_of, markdown_table, model_card, not_for_of
from napari_zoommil.model_folder import CARD, SHIPPED, SHIPPED_ENCODERS, find_model, read_card
from napari_zoommil.models.spec import ModelSpec
from napari_zoommil.resources import resource


def test_the_hub_reads_the_head() -> None:
    text = model_card("a: b\n c", "Some *text*.\n", {"val_loss": 0.12345}, tags=["x"], license="mit")
    read = ModelCard(text).data
    assert (read.library_name, read.license, read.tags) == (
        "napari-zoommil",
        "mit",
        ["whole-slide-image", "x"],
    )
    assert text.startswith("---\nlibrary_name: napari-zoommil\n")
    assert text.endswith(
        "---\n\n# a: b c\n\nSome *text*.\n\n| figure | value |\n| --- | --- |\n| val loss | 0.123 |\n"
    )


def test_without_figures_or_license_nothing_is_said_of_them() -> None:
    text = model_card("a", "b", tags=[])
    assert "license" not in text and text.endswith("# a\n\nb\n")


def test_a_bar_in_a_name_is_no_column() -> None:
    assert markdown_table(("a|b", "c"), [("1", "2|3")]) == "| a\\|b | c |\n| --- | --- |\n| 1 | 2\\|3 |"


def test_a_name_cannot_change_the_head() -> None:
    text = model_card("a\n---\nlicense: mit", "---\nlicense: mit\n---", tags=["x"])
    assert ModelCard(text).data.license is None


def test_the_card_of_a_training() -> None:
    module = import_module("napari_zoommil.jobs.train_plan")
    spec = ModelSpec("zoommil", {"magnifications": [5, 10]}, "nic", "0123", 128, ("a", "b"))
    text = module.card(spec, "| test | AUROC | 0.9 |")
    begin = "# zoommil: a, b\n\nMagnifications 5x, 10x, patches of 128 px, encoder `nic` (0123).\n\n"
    assert f"{begin}| test | AUROC | 0.9 |\n\nValidation slides chose the epoch" in text


def test_the_card_of_the_demo_is_made_as_it_ships() -> None:
    shipped = ModelCard.load(find_model("demo") / CARD)
    rows = [line.strip("| ").split(" | ") for line in shipped.text.splitlines() if line.startswith("| ")][2:]
    figures, baseline = ({row[0]: float(row[column]) for row in rows} for column in (1, 2))
    made = ModelCard(demo_model.card(demo_model.DemoRecipe(), figures, baseline))
    assert made.text.strip() == shipped.text.strip()
    assert made.data.to_dict() == shipped.data.to_dict()


def test_every_shipped_card_is_one_of_the_hub() -> None:
    for name in SHIPPED:
        read = ModelCard.load(find_model(name) / CARD)
        assert read.data.library_name == "napari-zoommil" and "whole-slide-image" in read.data.tags


def test_every_shipped_card_begins_with_what_it_must_not_be_used_for() -> None:
    folders = [find_model(name) for name in SHIPPED] + [
        resource("encoders", name) for name in SHIPPED_ENCODERS
    ]
    for folder in folders:
        card = read_card(folder)
        assert not_for_of(card).startswith("Not for"), folder
        assert body_of(card).splitlines()[2] == f"**{not_for_of(card)}**"


def test_what_a_card_says_is_read_whatever_its_head(tmp_path: Path) -> None:
    made = model_card("a", "b", tags=[], not_for="Not for: this.")
    assert not_for_of(made) == "Not for: this." and body_of(made) == "# a\n\n**Not for: this.**\n\nb"
    for odd in ("", "no head", "---\n: [\n---\nx", "---\nnot_for: [1]\n---\nx", "---\nnever ends", "---\n"):
        assert not_for_of(odd) == ""
        body_of(odd)
    assert read_card(tmp_path) == ""


def test_the_hub_is_asked_for_only_when_a_card_is_written() -> None:
    code = "import sys, napari_zoommil.model_card; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
