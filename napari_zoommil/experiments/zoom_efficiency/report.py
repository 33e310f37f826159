"""Tables and figure of the experiment ``zoom-efficiency``, with the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from napari_zoommil.encoders import load_encoder
from napari_zoommil.experiments.zoom_efficiency.measuring import ENCODER, PATCH, TIMES, resnet34
from napari_zoommil.experiments.zooming.published import DATA_SETS, SAMPLED, SAMPLES, DataSet, Published
from napari_zoommil.experiments.zooming.report import DASH
from napari_zoommil.experiments.zooming.scatter import Point, write_scatter
from napari_zoommil.geometry import zoom_ratios
from napari_zoommil.model_card import markdown_table

NAMES = {
    "maxmil": "MaxMIL", "meanmil": "MeanMIL", "sparseconvmil": "SparseConvMIL", "abmil": "ABMIL",
    "clam_sb": "CLAM-SB", "transmil": "TransMIL", "msmil": "MSMIL", "dsmil": "DSMIL", "zoommil": "ZoomMIL",
}  # fmt: skip

NOTE = f"""
**Patches** of the data set's mean slide, from the paper's count at 20x and the method; **T multiply-adds** of
its encoder, counted by torch (ResNet-50 up to its third block; ResNet-34 for the methods that encode
{SAMPLES} random patches). The paper's "TFLOPs" are multiply-adds for ResNet-50, but twice that for ResNet-34;
those of MSMIL and DSMIL on BRIGHT fit patches at 5x besides. **Predicted**: those patches times the seconds
that the encoder takes for a patch of noise on this machine. **Measured**: on synthetic slides with about as
much tissue as the mean slide, one at a time, means over seeds: encoding, reading, and the model itself
(median of {TIMES} passes after one that is not timed) with its multiply-adds; *all* counts tissue detection
too. Reading and encoding do not overlap here. Weights are random: they change neither counts nor times.
Metrics are the paper's.
"""


@cache
def unit_costs() -> dict[str, int]:
    """Multiply-adds to encode a patch."""
    encoders = {"resnet50": load_encoder(ENCODER), "resnet34": resnet34()}
    return {name: encoder.multiply_adds(PATCH) for name, encoder in encoders.items()}


def counts(row: Published, data: DataSet) -> tuple[int, ...]:
    """Patches of the mean slide that a method encodes, at each of its magnifications."""
    if row.method in SAMPLED:
        return (SAMPLES,)
    all_of = tuple(data.patches(one) for one in row.magnifications)
    if row.k is None:
        return all_of
    found = [all_of[0]]
    for total, ratio in zip(all_of[1:], zoom_ratios(row.magnifications), strict=True):
        found.append(min(total, min(row.k, found[-1]) * ratio**2))
    return tuple(found)


def summarised(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each published one: counts, costs, prediction, and means over the measured slides."""
    found = []
    for data in DATA_SETS.values():
        own = [one for one in results.values() if one["data"] == data.name]
        for index, row in enumerate(data.rows):
            patches = sum(counts(row, data))
            network = "resnet34" if row.method in SAMPLED else "resnet50"
            measured = [_measured(row, index, one) for one in own]
            pace = float(np.mean([one["pace"][network] for one in own])) if own else 0.0
            found.append(
                {
                    "data": data.name,
                    "table": row.table,
                    "method": label(row, data),
                    "patches": patches,
                    "encoder_tera": patches * unit_costs()[network] / 1e12,
                    "predicted_s": patches * pace if own else None,
                    "measured": {
                        name: [float(np.mean(values)), float(np.std(values, ddof=1)) if len(own) > 1 else 0.0]
                        for name in (measured[0] if measured else {})
                        for values in [[one[name] for one in measured]]
                    },
                    "published": {
                        "tera": row.tera, "seconds": row.seconds, "f1": row.f1, "accuracy": row.accuracy,
                    },
                }
            )  # fmt: skip
    return found


def label(row: Published, data: DataSet) -> str:
    """``ZoomMIL-Eff (5x → 10x)``."""
    fewer = row.method == "zoommil" and row.magnifications != data.magnifications
    scales = (" → " if row.method == "zoommil" else " + ").join(f"{one:g}x" for one in row.magnifications)
    return f"{NAMES[row.method]}{'-Eff' if fewer else ''} ({scales})"


def _measured(row: Published, index: int, result: Mapping[str, Any]) -> dict[str, float]:
    """Patches and seconds of a method on a measured slide."""
    own = result["methods"][index]
    # What it encoded itself, and the magnifications that it reads as a whole.
    patches, encode, read = own["patches"], own["encode_s"], own["read_s"]
    whole = row.magnifications[:1] if row.method == "zoommil" else row.magnifications
    for level in result["levels"] if row.method not in SAMPLED else ():
        if level["magnification"] in whole:
            count = level["tissue"] if len(row.magnifications) == 1 else level["patches"]
            share = count / level["patches"]
            patches += count
            encode += share * level["encode_s"]
            read += share * level["read_s"]
    network = "resnet34" if row.method in SAMPLED else "resnet50"
    return {
        "patches": patches,
        "predicted_s": patches * result["pace"][network],
        "encode_s": encode,
        "read_s": read,
        "model_s": own["model_s"],
        "model_giga": own["multiply_adds"] / 1e9,
        "total_s": result["tissue_s"] + encode + read + own["model_s"],
    }


def markdown(summary: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> str:
    """The report."""
    parts = [f"# zoom-efficiency\n\n{_about(results)}\n{NOTE}"]
    for name in DATA_SETS:
        rows = [row for row in summary if row["data"] == name]
        parts.append(f"## {name}\n\n{_table(rows)}\n\n{_ratios(rows)}\n")
    return "\n".join(parts)


def _about(results: Mapping[str, Mapping[str, Any]]) -> str:
    costs = {name: f"{value / 1e9:.3f} G" for name, value in unit_costs().items()}
    text = (
        f"A patch of {PATCH} px takes {costs['resnet50']} multiply-adds in ResNet-50 up to its third block, "
        f"and {costs['resnet34']} in ResNet-34."
    )
    if results:
        one = next(iter(results.values()))
        paces = [1000 * found["pace"]["resnet50"] for found in results.values()]
        text += (
            f" {len(results)} slides measured on {one['device']} with {one['threads']} thread(s): "
            f"{np.mean(paces):.1f} ms per patch of noise in ResNet-50."
        )
    return text


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    header = [
        "table", "method", "patches", "T multiply-adds", "paper: TFLOPs", "predicted, s",
        "paper: s on an A100", "measured: patches", "predicted for them, s", "encoding, s", "reading, s",
        "model, s", "G multiply-adds of it", "all, s", "paper: F1",
    ]  # fmt: skip
    return markdown_table(header, [_cells(row) for row in rows])


def _cells(row: Mapping[str, Any]) -> list[str]:
    published = row["published"]
    return [
        row["table"],
        row["method"],
        f"{row['patches']:,}",
        f"{row['encoder_tera']:.2f}",
        _or_dash(published["tera"], "{:.2f}"),
        _or_dash(row["predicted_s"], "{:.1f}"),
        _or_dash(published["seconds"], "{:.2f}"),
        _mean(row, "patches", 0),
        *(_mean(row, name, 1) for name in ("predicted_s", "encode_s", "read_s")),
        _mean(row, "model_s", 2),
        _mean(row, "model_giga", 2),
        _mean(row, "total_s", 1),
        f"{published['f1']:.1f}",
    ]


def _or_dash(value: float | None, form: str) -> str:
    return DASH if value is None else form.format(value)


def _mean(row: Mapping[str, Any], name: str, digits: int) -> str:
    if name not in row["measured"]:
        return DASH
    mean, spread = row["measured"][name]
    return f"{mean:,.{digits}f}" + (f" ± {spread:,.{digits}f}" if spread >= 0.5 * 10**-digits else "")


def _ratios(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many times less ZoomMIL takes than CLAM-SB and DSMIL, as sentences."""
    main = [row for row in rows if not row["table"].startswith("S")]
    peers = [row for row in main if row["method"].startswith(("CLAM-SB", "DSMIL"))]
    sentences = []
    for own in (row for row in main if row["method"].startswith("ZoomMIL")):
        for peer in peers:
            said = [
                f"{peer['patches'] / own['patches']:.1f} times the patches",
                f"the paper's TFLOPs {_published_ratio(peer, own, 'tera')}, its time "
                f"{_published_ratio(peer, own, 'seconds')}",
            ]
            for name, title in (("encode_s", "encoding"), ("total_s", "all, with reading")):
                if name in own["measured"]:
                    ratio = peer["measured"][name][0] / own["measured"][name][0]
                    said.append(f"{title}, as measured, {ratio:.1f} times")
            sentences.append(f"- {peer['method']} over {own['method']}: {'; '.join(said)}.")
    return "\n".join(sentences)


def _published_ratio(peer: Mapping[str, Any], own: Mapping[str, Any], name: str) -> str:
    return f"{peer['published'][name] / own['published'][name]:.1f} times"


def draw(path: Path, summary: Sequence[Mapping[str, Any]]) -> None:
    """Throughput against the paper's accuracy on BRIGHT (Fig. 3): measured here, and published."""
    rows = [row for row in summary if row["data"] == "BRIGHT" and not row["table"].startswith("S")]
    here = [_point(row, 3600 / row["measured"]["total_s"][0]) for row in rows if row["measured"]]
    published = [_point(row, 3600 / row["published"]["seconds"]) for row in rows]
    panels = {"measured here, reading counted": here, "published, NVIDIA A100": published}
    write_scatter(
        path,
        {title: points for title, points in panels.items() if points},
        "slides per hour",
        "published accuracy on BRIGHT, %",
        fewer_is_better=False,
    )


def _point(row: Mapping[str, Any], throughput: float) -> Point:
    own = row["method"].startswith("ZoomMIL")
    return Point(row["method"], throughput, row["published"]["accuracy"], 0.0, "ZoomMIL" if own else "peers")
