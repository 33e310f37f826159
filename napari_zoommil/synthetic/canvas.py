"""The periodic square on which tissues are drawn: smooth noise, wavy fibres and random points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import map_coordinates

from napari_zoommil.synthetic.nuclei import Pen, Plane, Points, Stain, poisson_disc


def periodic_noise(rng: np.random.Generator, size: int, wave_y: float, wave_x: float | None = None) -> Plane:
    """Smooth periodic noise (size, size) of unit variance with features about `wave` px wide."""
    ky = fft.fftfreq(size, 1 / size).astype(np.float32)[:, None] * (wave_y / size)
    kx = fft.rfftfreq(size, 1 / size).astype(np.float32)[None, :] * ((wave_x or wave_y) / size)
    power = np.exp(-(ky**2 + kx**2))
    rows, columns = np.nonzero(power > 1e-3)
    spectrum = np.zeros(power.shape, np.complex64)
    wave = rng.standard_normal((2, len(rows)), np.float32)
    spectrum[rows, columns] = (wave[0] + 1j * wave[1]) * power[rows, columns]
    spectrum[0, 0] = 0
    noise = fft.irfft2(spectrum, (size, size)).astype(np.float32)
    return noise / noise.std()


@dataclass(frozen=True)
class Canvas:
    """Common properties of the textures of a bank: size, random generator, pen, and noise fields."""

    rng: np.random.Generator
    size: int
    pen: Pen
    noises: dict[str, Plane]
    stromas: dict[float, Stain]

    @classmethod
    def create(cls, seed: int, size: int) -> Canvas:
        """A canvas of `size` px, determined by `seed`."""
        rng = np.random.default_rng([seed, size])
        waves = {"grain": 4.0, "fine": 14.0, "mid": 60.0, "broad": 320.0, "nest": 520.0}
        noises = {name: periodic_noise(rng, size, wave) for name, wave in waves.items()}
        noises["swirl"] = periodic_noise(rng, size, 1000.0)
        noises["fibre"] = periodic_noise(rng, size, 11.0, 260.0)
        noises["bundle"] = periodic_noise(rng, size, 44.0, 700.0)
        return cls(rng, size, Pen(rng, periodic_noise(rng, 512, 8.0)), noises, {})

    def noise(self, name: str) -> Plane:
        """Noise of unit variance with a random periodic shift."""
        shift = self.rng.integers(0, self.size, 2)
        return np.roll(self.noises[name], tuple(shift), (0, 1))

    def points(self, spacing: float) -> Points:
        """Poisson-disc points in the square."""
        return poisson_disc(self.rng, self.size, spacing)

    def fibres(self, waviness: float) -> tuple[Plane, Plane, Plane]:
        """Wavy fibres: fine pattern, bundle pattern (unit variance) and the fibres' angle in radians."""
        wave_y = (self.noise("swirl") + 0.22 * self.noise("broad") + 0.02 * self.noise("mid")) * waviness
        wave_x = self.noise("broad") * 0.3 * waviness
        rows, columns = np.indices((self.size, self.size), np.float32)
        where = np.stack([rows + wave_y, columns + wave_x])
        fine = map_coordinates(self.noise("fibre"), where, order=1, mode="grid-wrap")
        bundle = map_coordinates(self.noise("bundle"), where, order=1, mode="grid-wrap")
        slope_y = (np.roll(wave_y, -4, 0) - np.roll(wave_y, 4, 0)) / 8
        slope_x = (np.roll(wave_y, -4, 1) - np.roll(wave_y, 4, 1)) / 8
        return fine, bundle, np.arctan2(-slope_x, 1 + slope_y).astype(np.float32)
