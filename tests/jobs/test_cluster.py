"""Slides spread over a cluster whose workers are threads of this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_zoommil.bags import FeatureCache
from napari_zoommil.cli import main
from napari_zoommil.errors import EncoderError, FileError, JobError, StoreError
from napari_zoommil.jobs import Progress, cluster, cluster_task, embed, predict, run
from napari_zoommil.jobs.cluster_task import Task
from napari_zoommil.jobs.many_slides import over
from napari_zoommil.jobs.outcomes import Outcome, results_of

distributed = pytest.importorskip("distributed")

SMALL: dict[str, Any] = {"encoder": "mean-rgb", "magnifications": (5.0, 10.0), "patch_size": 16}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two workers."""
    settings: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with started(partial(distributed.LocalCluster, processes=False, **settings)) as cluster:
        yield cluster.scheduler_address


def started(make: Callable[[], Any], tries: int = 3) -> Any:
    """A cluster: dask gives its event loop a fixed time to start, which may run out beside other tests."""
    for _ in range(tries - 1):
        with suppress(AssertionError):
            return make()
    return make()


@pytest.fixture
def slides(make_slide, tmp_path: Path) -> list[Path]:
    return [make_slide(tmp_path / f"{n}.tif", (150, 60, 120), 256, seed=n) for n in range(3)]


def features(found: Any, store: Path) -> list[np.ndarray]:
    bag = found.bag(FeatureCache(store))
    return [bag.features(n, np.arange(len(level))).numpy() for n, level in enumerate(bag.grid.levels)]


def test_it_equals_a_run_on_one_machine(
    address: str, slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are told from the folder of the caller; a slide that fails stops no others."""
    monkeypatch.chdir(tmp_path)
    named = [Path(slide.name) for slide in slides] + [Path("absent.tif")]
    seen: list[Progress] = []
    job = partial(embed, store=Path("there"), **SMALL)
    outcomes = run(over(job, named, cluster=address, then=lambda path, found: (path, found)), seen.append)
    assert [outcome.slide for outcome in outcomes] == named
    assert "absent.tif" in str(outcomes[3].error) and isinstance(outcomes[3].error, Exception)
    here = results_of(run(over(partial(embed, store=tmp_path / "here", **SMALL), slides)))
    for outcome, path, one in zip(outcomes[:3], named[:3], here, strict=True):
        assert outcome.result is not None and outcome.result[0] == path
        found = outcome.result[1]
        assert (found.encoded, found.total, found.store.name) == (one.total, one.total, one.store.name)
        for own, other in zip(
            features(found, tmp_path / "there"), features(one, tmp_path / "here"), strict=True
        ):
            np.testing.assert_array_equal(own, other)
    assert [path.name for path in (tmp_path / "there").iterdir() if path.name.startswith(".")] == []

    told = [progress.partial for progress in seen if isinstance(progress.partial, Outcome)]
    assert sorted(outcome.slide for outcome in told) == sorted(named)
    shares = [progress.done / progress.total for progress in seen]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert seen[-1].note.startswith("4 of 4 slides done; ")


def test_what_is_stored_is_not_made_again(address: str, slides: list[Path], tmp_path: Path) -> None:
    job = partial(embed, store=tmp_path / "store", **SMALL)
    closed = job(slides[0])
    while not next(closed).note.endswith("patches"):
        pass
    closed.close()
    first, second, _ = results_of(run(over(job, slides, cluster=address)))
    assert 0 < first.encoded < first.total and second.encoded == second.total
    assert [one.encoded for one in results_of(run(over(job, slides, cluster=address)))] == [0, 0, 0]


def test_closing_it_stops_the_workers(
    address: str, slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_task, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(sys.modules[embed.__module__], "BATCH_ROWS", 1)
    many = over(partial(embed, store=tmp_path / "store", **SMALL), slides, cluster=address)
    while "patches" not in next(many).note:
        pass
    many.close()
    assert cluster_task._one_slide.acquire(timeout=10), "it works on"
    cluster_task._one_slide.release()
    monkeypatch.undo()
    again = run(over(partial(embed, store=tmp_path / "store", **SMALL), slides))
    assert sum(one.total - one.encoded for one in results_of(again)) < sum(
        one.total for one in results_of(again)
    )


def test_what_every_slide_would_meet_ends_it(address: str, slides: list[Path], tmp_path: Path) -> None:
    job = partial(embed, **SMALL | {"encoder": "absent"}, store=tmp_path)
    with pytest.raises(EncoderError, match="absent"):
        run(over(job, slides, cluster=address))


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ({"version": "0.0"}, JobError, r"has version .*, not 0\.0; install the same version everywhere"),
        ({"sign": Path("elsewhere", "sign")}, StoreError, "does not see elsewhere; slides and store must be"),
    ],
)
def test_workers_of_another_kind_are_told_of(
    address: str, slides: list[Path], tmp_path: Path, monkeypatch, fault: dict[str, Any], error, said: str
) -> None:
    real = Task.with_sign
    monkeypatch.setattr(Task, "with_sign", lambda task, sign: cluster_task.replace(real(task, sign), **fault))
    with pytest.raises(error, match=said):
        run(over(partial(embed, store=tmp_path, **SMALL), slides, cluster=address))


@pytest.fixture
def under_way(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two slides on their way, the first of which has been heard of."""
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.01)
    client = SimpleNamespace(status="running", ncores=lambda: {"tcp://w": 1})
    way = cluster._Run([Path("a.tif"), Path("b.tif")], client, "tcp://h:1")  # type: ignore[arg-type]
    way.futures[0] = SimpleNamespace()  # type: ignore[assignment]
    way.heard.put((0, {"number": 0, "share": 0.5, "note": "encoding"}))
    way.next()
    return way


def test_workers_that_all_go_are_told_of_at_any_time(under_way: Any) -> None:
    under_way.next()
    assert under_way.progress(0, None).note.endswith("encoding")
    under_way.client.ncores = dict
    under_way.next()
    assert under_way.progress(0, None).note == "0 of 2 slides done; waiting for workers of tcp://h:1"


def test_slides_that_wait_within_a_worker_are_told_of(under_way: Any, monkeypatch) -> None:
    told: list[dict[str, Any]] = []
    worker = SimpleNamespace(
        state=SimpleNamespace(nthreads=4), log_event=lambda run, event: told.append(event)
    )
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    monkeypatch.setattr(cluster_task, "_is_cancelled", lambda run: True)
    monkeypatch.setattr(cluster_task, "TELL_SECONDS", 0.01)
    with cluster_task._one_slide:
        cluster_task.work_on(Task.of(embed), Path("b.tif"), 1, "run")
    under_way.heard.put((1, told[0]))
    under_way.next()
    note = under_way.progress(0, None).note
    assert "encoding; slides wait within a worker of 4 threads" in note and "--nthreads 1" in note


def test_only_plain_values_are_sent() -> None:
    with pytest.raises(JobError, match="store is a object, but only plain values"):
        Task.of(partial(embed, store=object()))  # type: ignore[arg-type]
    with pytest.raises(JobError, match="regions is a tuple"):
        Task.of(partial(embed, regions=(np.array([object()]),)))
    with pytest.raises(JobError, match="only jobs of this package"):
        Task.of(lambda slide: embed(slide))
    task = Task.of(partial(embed, encoder="net.pt"))
    assert task.values["encoder"] == str(Path("net.pt").absolute())
    assert task.values["store"] == Path("features").absolute()


def test_paths_within_values_and_model_folders_become_absolute(tmp_path: Path, monkeypatch) -> None:
    """Names of shipped models and of those on the hub are no paths."""
    monkeypatch.chdir(tmp_path)
    for name in ("own", "demo"):
        (tmp_path / name).mkdir()
    for name, expected in (("own", str(tmp_path / "own")), ("demo", "demo"), ("owner/name", "owner/name")):
        assert Task.of(partial(predict, model=name)).values["model"] == expected
    files = (Path("a.h5"), Path("b"))
    values = Task.of(partial(predict, model=Path("own"), features=files, encoder="net.pt")).values
    assert values["model"] == str(tmp_path / "own") and values["encoder"] == str(tmp_path / "net.pt")
    assert values["features"] == (tmp_path / "a.h5", tmp_path / "b")
    assert Task.of(partial(predict, features=[*files])).values["features"] == list(values["features"])


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1:9"])
def test_an_address_without_a_scheduler_is_refused(address: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("napari_zoommil.jobs.cluster.CONNECT_SECONDS", 0.2)
    with pytest.raises(JobError, match=f"no dask scheduler answers at {address}"):
        run(over(partial(embed, store=tmp_path), ["a.svs"], cluster=address))


def test_a_scheduler_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"there is no scheduler file .*sched\.json"):
        run(over(embed, ["a.svs"], cluster=str(tmp_path / "sched.json")))


def test_without_the_library_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(JobError, match=r"pip install 'napari-zoommil\[cluster\]'"):
        run(over(embed, ["a.svs"], cluster="tcp://h:1"))


def test_the_command(address: str, slides: list[Path], tmp_path: Path, capsys) -> None:
    options = ["--encoder", "mean-rgb", "--magnifications", "5,10", "--patch-size", "16", "--json"]
    told = []
    for shard in ("1/4", "2/4", "3/4", "4/4"):
        where = ["--store", str(tmp_path / "store"), "--cluster", address, "--shard", shard]
        with pytest.raises(SystemExit) as end:
            main(["embed", *map(str, slides), *where, *options])
        assert not end.value.code
        told.append([one["slide"] for one in json.loads(capsys.readouterr().out)])
    assert told == [["0.tif"], ["1.tif"], ["2.tif"], []]
