"""A job's parameters become options of a command."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Interval
from cyclopts import App, CycloptsError

from napari_zoommil import cli
from napari_zoommil.commands.options import Json, Slides, with_options
from napari_zoommil.jobs.parameters import Help, Range

Share = Annotated[float | None, Range(0, 1), Help("From the type.")]


def job(
    slide: Path,
    model: str = "demo",
    *,
    sizes: tuple[float, ...] = (5.0, 10.0),
    mpp: Annotated[float, Range(0.02, 50, unit="µm/px")] = 0.5,
    share: Share = None,
    plain: bool = False,
) -> None:
    """Do.

    Parameters
    ----------
    model : str
        Which model.
    sizes : tuple of float
        In order.
    mpp : float
        Pixel size.
    plain : bool
        Without colours.
    """


@pytest.fixture
def taken() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def app(taken: list[dict[str, Any]]) -> App:
    @with_options(job, hidden=("slide", "plain"))
    def command(slides: Slides, /, *, json: Json = False, **options: Any) -> None:
        taken.append({"slides": slides, "json": json, **options})

    made = App(name="tool", exit_on_error=False, print_error=False, result_action="return_value")
    made.default(command)
    return made


def test_defaults_are_the_jobs(app: App, taken: list[dict[str, Any]]) -> None:
    app(["a.svs", "b.svs"])
    assert taken == [
        {
            "slides": [Path("a.svs"), Path("b.svs")],
            "json": False,
            "model": "demo",
            "sizes": (5.0, 10.0),
            "mpp": 0.5,
            "share": None,
        }
    ]


def test_values_are_converted(app: App, taken: list[dict[str, Any]]) -> None:
    app(["a.svs", "--sizes", "2.5,5", "--mpp", "0.25", "--share", "0.5", "--model", "m", "--json"])
    assert taken[0] | {"slides": None} == {
        "slides": None, "json": True, "model": "m", "sizes": (2.5, 5.0), "mpp": 0.25, "share": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        ("--mpp", "0.01"),
        ("--mpp", "51"),
        ("--share", "1.5"),
        ("--mpp", "half"),
        ("--plain",),
        ("--unknown", "1"),
    ],
)
def test_what_is_out_of_range_or_not_offered_is_refused(
    app: App, taken: list[dict[str, Any]], wrong: tuple[str, ...]
) -> None:
    with pytest.raises(CycloptsError):
        app(["a.svs", *wrong])
    assert taken == []


def test_help_comes_from_docstring_or_type(app: App, capsys) -> None:
    app(["--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in ("Which model. [default: demo]", "Pixel size. (µm/px) [default: 0.5]", "From the type."):
        assert text in shown
    assert "--plain" not in shown and "--no-json" not in shown


@dataclass(frozen=True)
class Sizes:
    """Two in one.

    Attributes
    ----------
    width : int
        From side to side.
    height, depth : int
        The others.
    """

    width: Annotated[int, Interval(ge=1, le=9)] = 2
    height: int = 3
    depth: int = 4


def test_the_fields_of_a_dataclass_are_options(taken: list[dict[str, Any]], capsys) -> None:
    def job(slide: Path, sizes: Sizes = Sizes(), plain: bool = False) -> None:
        """Do."""

    @with_options(job, hidden=("slide", "depth"))
    def command(slides: Slides, /, **options: Any) -> None:
        taken.append(options)

    app = App(name="tool", exit_on_error=False, print_error=False, result_action="return_value")
    app.default(command)
    app(["a.svs", "--width", "5"])
    app(["a.svs", "--plain"])
    assert taken == [{"sizes": Sizes(5), "plain": False}, {"sizes": Sizes(), "plain": True}]
    for wrong in (["--width", "10"], ["--depth", "1"], ["--sizes", "1"]):
        with pytest.raises(CycloptsError):
            app(["a.svs", *wrong])
    app(["--help"])
    assert "From side to side. [default: 2]" in " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_there_and_every_option_is_explained(name: str) -> None:
    command = cli.app[name]
    assert command.help == cli.COMMANDS[name][1]
    arguments = command.assemble_argument_collection(parse_docstring=True)
    assert all(argument.parameter.help for argument in arguments if argument.show)
    assert list(inspect.signature(command.default_command).parameters)
