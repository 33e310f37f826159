from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from cyclopts import App

from napari_zoommil.commands.options import with_options
from napari_zoommil.errors import ModelError
from napari_zoommil.jobs.parameters import Range


def job(
    slide: str,
    *,
    options: Mapping[str, Any] | None = None,
    magnifications: tuple[float, ...] | None = None,
    rate: Annotated[float | None, Range(0, 1)] = None,
) -> None:
    """A job.

    Parameters
    ----------
    slide : str
        Hidden.
    options : dict, optional
        Of the model.
    magnifications : tuple of float, optional
        Rising.
    rate : float, optional
        A share.
    """


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    app, seen = App(), []

    @app.command(name="job")
    @with_options(job, hidden=("slide",))
    def command(slide: str, /, **options: Any) -> None:
        seen.append(options)

    def run(*arguments: str) -> dict[str, Any]:
        app(["job", "a.svs", *arguments], result_action="return_value", exit_on_error=False)
        return seen[-1]

    return run


def test_what_is_not_given_has_the_jobs_default(call: Any) -> None:
    assert call() == {"options": None, "magnifications": None, "rate": None}


def test_options_of_a_model_are_set_by_name(call: Any) -> None:
    given = call("--set", "k=12,8", "--set", "topk=paper", "--set", "sigma=none", "--set", "title=a=b")
    assert given["options"] == {"k": ["12", "8"], "topk": "paper", "sigma": None, "title": "a=b"}


@pytest.mark.parametrize("text", ["k", "=3", ""])
def test_what_sets_nothing_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ModelError, match="an option must have the form name=value"):
        call("--set", text)


def test_numbers_in_a_row_are_a_tuple(call: Any) -> None:
    assert call("--magnifications", "5,10,20")["magnifications"] == (5.0, 10.0, 20.0)
    assert call("--rate", "0.5")["rate"] == 0.5
