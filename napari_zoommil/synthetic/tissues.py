"""Drawing of each tissue on a periodic square: fibres, glands, lymphoid follicles, fat, muscle, tumour.

Lengths are px of 0.25 µm. Stain concentrations are natural-log optical densities along a unit stain vector:
about 0.5 of eosin in loose stroma, about 1.5 of haematoxylin in a lymphocyte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from napari_zoommil.synthetic.canvas import Canvas
from napari_zoommil.synthetic.nuclei import (
    CENTROBLAST,
    CIGAR,
    CROWDED,
    EPITHELIAL,
    FLAT,
    LYMPHOCYTE,
    MITOSIS,
    SPINDLE,
    TUMOUR_DARK,
    TUMOUR_VESICULAR,
    Plane,
    Points,
    Stain,
    square_index,
)


def _at(plane: Plane, points: Points) -> Plane:
    rows, columns = (points.astype(int) % plane.shape[0]).T
    return plane[rows, columns]


def copied_stroma(canvas: Canvas, density: float) -> Stain:
    """Stroma of about `density` around other tissues: drawn once, with a random periodic shift."""
    if density not in canvas.stromas:
        canvas.stromas[density] = draw_stroma(canvas, density)
    shift = tuple(canvas.rng.integers(0, canvas.size, 2))
    drawn = canvas.stromas[density]
    return Stain(np.roll(drawn.h, shift, (0, 1)), np.roll(drawn.e, shift, (0, 1)))


def draw_stroma(canvas: Canvas, density: float = 1.0) -> Stain:
    """Collagen with clefts and spindle nuclei along the fibres; `density` 0.6 is loose, 1 is dense."""
    fine, bundle, angle = canvas.fibres(170)
    cleft = np.clip((bundle * 0.85 + fine * 0.6 - 0.55 - 0.9 * density) * 2.2, 0, 1)
    e = (0.40 + 0.13 * density) * (1 + 0.10 * fine + 0.16 * bundle + 0.07 * canvas.noise("fine"))
    e *= 1 - 0.85 * cleft
    h = 0.10 + 0.02 * canvas.noise("mid") + 0.02 * fine - 0.08 * cleft
    stain = Stain(np.maximum(h, 0.01), np.maximum(e, 0.03) + 0.015 * canvas.noise("grain"))
    points = canvas.points(72)
    points = points[canvas.rng.random(len(points)) < 0.62]
    for (y, x), local in zip(points, _at(angle, points), strict=True):
        kind = SPINDLE if canvas.rng.random() < 0.9 else LYMPHOCYTE
        canvas.pen.stamp(stain, y, x, kind, local + canvas.rng.normal(0, 0.15))
    return stain


def draw_muscle(canvas: Canvas) -> Stain:
    """Smooth muscle: deep pink parallel bundles with cigar-shaped nuclei."""
    fine, bundle, angle = canvas.fibres(110)
    cleft = np.clip((fine * 0.5 + bundle * 0.9 - 1.75) * 3, 0, 1)
    e = 0.74 * (1 + 0.08 * fine + 0.07 * bundle + 0.05 * canvas.noise("fine")) * (1 - 0.8 * cleft)
    h = 0.17 + 0.02 * fine - 0.13 * cleft
    stain = Stain(np.maximum(h, 0.01), np.maximum(e, 0.03) + 0.015 * canvas.noise("grain"))
    points = canvas.points(58)
    points = points[canvas.rng.random(len(points)) < 0.7]
    for (y, x), local in zip(points, _at(angle, points), strict=True):
        canvas.pen.stamp(stain, y, x, CIGAR, local + canvas.rng.normal(0, 0.08))
    return stain


def draw_inflamed(canvas: Canvas) -> Stain:
    """Loose stroma with clouds of lymphocytes and small vessels."""
    stain = copied_stroma(canvas, 0.7)
    cloud = canvas.noise("broad") + 0.5 * canvas.noise("mid")
    for y, x in canvas.points(420):
        if canvas.rng.random() < 0.6:
            _draw_vessel(canvas, stain, y, x, canvas.rng.uniform(30, 75))
            cloud[square_index(y, x, 60, canvas.size)] = -9
    points = canvas.points(32)
    points = points[_at(cloud, points) + canvas.rng.normal(0, 0.35, len(points)) > -0.1]
    canvas.pen.scatter(stain, points, (LYMPHOCYTE, CENTROBLAST), (0.85, 0.15))
    return stain


def _ring(
    canvas: Canvas, y: float, x: float, radius: float, wobble: float
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], Plane, NDArray[np.float64]]:
    """Index of a square around (y, x), the relative radius in it (1 on the outline), and the outline.

    The outline is (360,): radius in px per degree.
    """
    degrees = np.arange(360) * (np.pi / 180)
    outline = np.ones(360)
    for k, share in ((1, 0.8), (2, 1.7), (3, 0.8), (4, 0.5)):
        phase = canvas.rng.uniform(0, 2 * np.pi)
        outline += share * wobble * canvas.rng.normal() * np.cos(k * degrees + phase)
    outline = radius * np.clip(outline, 0.7, 1.3)
    reach = int(outline.max()) + 8
    yy, xx = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    degree = (np.arctan2(yy, xx) * (180 / np.pi)).astype(int) % 360
    relative = np.hypot(yy, xx) / outline[degree].astype(np.float32)
    return square_index(y, x, reach, canvas.size), relative.astype(np.float32), outline


def _mix(plane: Plane, index: tuple[NDArray[np.intp], NDArray[np.intp]], alpha: Plane, value: Plane) -> None:
    old = plane[index]
    plane[index] = old + alpha * (value - old)


def _draw_vessel(canvas: Canvas, stain: Stain, y: float, x: float, radius: float) -> None:
    """A vessel: muscular wall, flat endothelium, red cells or an empty lumen."""
    index, relative, outline = _ring(canvas, y, x, radius, 0.12)
    texture = canvas.noise("fine")[: relative.shape[0], : relative.shape[1]]
    wall = np.clip((1 - relative) * radius / 3 + 0.5, 0, 1)
    lumen = np.clip((0.62 - relative) * radius / 2 + 0.5, 0, 1)
    _mix(stain.e, index, wall, 0.62 + 0.06 * texture)
    _mix(stain.h, index, wall, np.full_like(relative, 0.13))
    blood = canvas.rng.random() < 0.5
    _mix(stain.e, index, lumen, (0.95 + 0.25 * texture) if blood else np.full_like(relative, 0.03))
    _mix(stain.h, index, lumen, np.full_like(relative, 0.01))
    for theta in np.arange(0, 2 * np.pi, 44 / radius):
        for level in (0.66, 0.9):
            if canvas.rng.random() < 0.55:
                r = level * outline[int(np.degrees(theta)) % 360]
                canvas.pen.stamp(stain, y + r * np.sin(theta), x + r * np.cos(theta), FLAT, theta + np.pi / 2)


def draw_gland(canvas: Canvas, crowded: bool = False) -> Stain:
    """Mucosa: glands with basal nuclei around a lumen, in a lamina propria with lymphocytes.

    `crowded` glands are smaller and closer together, with stratified dark nuclei and little mucin.
    """
    stain = copied_stroma(canvas, 0.7)
    centres = canvas.points(205 if crowded else 250)
    gap, _ = cKDTree(centres, boxsize=canvas.size).query(centres, k=2)
    radii = np.minimum(gap[:, 1] * (0.49 if crowded else 0.46), 150)
    lamina = canvas.points(44)
    nearest, which = cKDTree(centres, boxsize=canvas.size).query(lamina)
    free = (nearest > radii[which] * 1.1 + 14) & (canvas.rng.random(len(lamina)) < 0.8)
    canvas.pen.scatter(stain, lamina[free], (LYMPHOCYTE, SPINDLE), (0.7, 0.3))
    for (y, x), radius in zip(centres, radii, strict=True):
        _draw_crypt(canvas, stain, y, x, radius, crowded)
    return stain


def _draw_crypt(canvas: Canvas, stain: Stain, y: float, x: float, radius: float, crowded: bool) -> None:
    index, relative, outline = _ring(canvas, y, x, radius, 0.08)
    shape = relative.shape
    fine = canvas.noises["fine"][: shape[0], : shape[1]]
    mid = np.roll(canvas.noises["mid"], canvas.rng.integers(0, canvas.size), 0)[: shape[0], : shape[1]]
    opening = 0.2 if crowded else canvas.rng.uniform(0.18, 0.42)
    epithelium = np.clip((1 - relative) * radius / 2.5 + 0.5, 0, 1)
    basal = np.clip((relative - 0.55) / 0.25, 0, 1)
    mucin = (0.25 if crowded else 0.75) * (1 - basal) * np.clip(0.75 + 0.5 * fine, 0, 1)
    _mix(stain.e, index, epithelium, (0.52 + 0.05 * fine + 0.04 * mid) * (1 - 0.65 * mucin))
    _mix(stain.h, index, epithelium, (0.30 + 0.04 * fine + 0.08 * basal) * (1 - 0.45 * mucin))
    lumen = np.clip((opening + 0.03 * mid - relative) * radius / 3 + 0.5, 0, 1)
    border = np.exp(-(((relative - opening - 0.03 * mid) * radius / 3.5) ** 2))
    _mix(stain.e, index, lumen, np.clip(0.06 + 0.05 * mid, 0.02, 1))
    _mix(stain.h, index, lumen, np.clip(0.05 + 0.03 * mid, 0.01, 1))
    stain.e[index] += 0.2 * border + 0.14 * np.exp(-(((relative - 1) * radius / 3) ** 2))
    _draw_basal_nuclei(canvas, stain, y, x, outline, crowded)


def _draw_basal_nuclei(
    canvas: Canvas, stain: Stain, y: float, x: float, outline: NDArray[np.float64], crowded: bool
) -> None:
    kind, pitch = (CROWDED, 24) if crowded else (EPITHELIAL, 30)
    inset = kind.length_um * 2 + 3
    for row in range(2 if crowded else 1):
        depth = inset + row * 27
        radius = outline.mean() - depth
        count = max(int(2 * np.pi * radius / pitch), 3)
        for theta in (np.arange(count) + canvas.rng.uniform()) * (2 * np.pi / count):
            theta += canvas.rng.normal(0, 3 / radius)
            r = outline[int(np.degrees(theta)) % 360] - depth + canvas.rng.normal(0, 5 if crowded else 3)
            canvas.pen.stamp(stain, y + r * np.sin(theta), x + r * np.cos(theta), kind, theta)


def draw_lymphoid(canvas: Canvas) -> Stain:
    """Packed lymphocytes, with paler centres of larger cells and a few high endothelial venules."""
    fine, mid = canvas.noise("fine"), canvas.noise("mid")
    stain = Stain(0.22 + 0.04 * fine, 0.34 + 0.05 * fine + 0.05 * mid + 0.015 * canvas.noise("grain"))
    for y, x in canvas.points(600):
        _draw_vessel(canvas, stain, y, x, canvas.rng.uniform(25, 45))
    centre = canvas.noise("broad") + 0.25 * mid
    points = canvas.points(25)
    pale = _at(centre, points) > 0.9
    canvas.pen.scatter(stain, points[~pale], (LYMPHOCYTE, CENTROBLAST), (0.95, 0.05))
    points = canvas.points(34)
    pale = _at(centre, points) > 0.9
    canvas.pen.scatter(stain, points[pale], (CENTROBLAST, LYMPHOCYTE), (0.8, 0.2))
    return stain


def draw_fat(canvas: Canvas) -> Stain:
    """Adipocytes: empty vacuoles with thin pink walls and a few flat nuclei."""
    step = 4
    centres = canvas.points(255)
    rows, columns = np.indices((canvas.size // step,) * 2) * step
    spots = np.stack([rows.ravel(), columns.ravel()], 1) + 0.0
    near, _ = cKDTree(centres, boxsize=canvas.size).query(spots, k=2)
    coarse = (near[:, 1] - near[:, 0]).reshape(rows.shape).astype(np.float32)
    fine_rows, fine_columns = np.indices((canvas.size,) * 2, np.float32) / step
    warp_y, warp_x = canvas.noise("mid"), canvas.noise("mid")
    where = np.stack([fine_rows + 1.6 * warp_y, fine_columns + 1.6 * warp_x])
    gap = map_coordinates(coarse, where, order=1, mode="grid-wrap")
    wall = np.exp(-((gap / (9 + 2.5 * canvas.noise("mid"))) ** 2))
    wall = np.maximum(wall, np.clip((26 - gap) / 60, 0, 0.3))
    stain = Stain(
        0.02 + 0.12 * wall + 0.01 * canvas.noise("grain"),
        0.03 + 0.62 * wall * (1 + 0.15 * canvas.noise("fine")) + 0.012 * canvas.noise("grain"),
    )
    points = canvas.points(60)
    points = points[(_at(gap, points) < 6) & (canvas.rng.random(len(points)) < 0.8)]
    canvas.pen.scatter(stain, points, (FLAT, SPINDLE, LYMPHOCYTE), (0.6, 0.2, 0.2))
    return stain


def draw_tumour(canvas: Canvas, nest: float = -0.4) -> Stain:
    """Carcinoma: nests and cords of crowded, large, uneven nuclei with nucleoli, some mitoses, thin stroma.

    `nest` shifts the share of nests: -0.25 is nearly solid, -0.75 is scirrhous.
    """
    stain = copied_stroma(canvas, 0.7)
    fine, mid = canvas.noise("fine"), canvas.noise("mid")
    septa = np.minimum(np.abs(canvas.noise("nest")), np.abs(canvas.noise("nest")))
    cord = 1.6 * septa + 0.07 * mid + 0.012 * fine + nest
    inside = np.clip(cord / 0.06 + 0.5, 0, 1)
    everywhere = np.arange(canvas.size)
    whole = (everywhere[:, None], everywhere[None, :])
    _mix(stain.h, whole, inside, 0.30 + 0.04 * fine + 0.03 * mid)
    _mix(stain.e, whole, inside, 0.50 + 0.05 * fine + 0.04 * mid + 0.015 * canvas.noise("grain"))
    cleft = np.clip(1 - np.abs(cord + 0.02) / 0.05, 0, 1) * np.clip(2 * canvas.noise("mid"), 0, 1)
    stain.e[...] *= 1 - 0.8 * cleft
    stain.h[...] *= 1 - 0.8 * cleft
    points = canvas.points(43)
    points = points[_at(cord, points) > 0.08]
    kinds = (TUMOUR_VESICULAR, TUMOUR_DARK, MITOSIS, LYMPHOCYTE)
    canvas.pen.scatter(stain, points, kinds, (0.74, 0.21, 0.025, 0.025))
    strays = canvas.points(50)
    strays = strays[(_at(cord, strays) < -0.12) & (canvas.rng.random(len(strays)) < 0.35)]
    canvas.pen.scatter(stain, strays, (LYMPHOCYTE,), (1.0,))
    return stain
