"""A linear probe: how well a linear classifier tells classes by the codes of an encoder, with 95 %
intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_zoommil.errors import CohortError
from napari_zoommil.training.mil import weighted_metrics
from napari_zoommil.training.mil.held_out import FEWEST, RESAMPLES, TAILS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A value with the bounds of its 95 % interval, which are None where there are too few patients."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, values: Floats) -> Measured:
        """Of the patients as they are, and of bootstrap samples of them."""
        defined = values[1:][np.isfinite(values[1:])]
        bounds = map(float, np.percentile(defined, TAILS)) if len(defined) else ()
        return cls(float(values[0]), *bounds)

    def __str__(self) -> str:
        rests = "" if self.low is None else f" ({self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.3f}{rests}"


@dataclass(frozen=True, eq=False)
class Probe:
    """What a linear probe shows.

    Attributes
    ----------
    samples : mapping of str to (1 + R,) float64
        ``accuracy``, ``balanced accuracy`` (mean recall of the classes) and ``AUROC``: of the patients as
        they are, and of R bootstrap samples, none where patients are too few. Probes of the same patients and
        seed share the samples.
    patients, patches : int
        That it was tested on.
    """

    samples: Mapping[str, Floats]
    patients: int
    patches: int

    def __getitem__(self, metric: str) -> Measured:
        return Measured.of(self.samples[metric])

    def minus(self, other: Probe, metric: str = "accuracy") -> Measured:
        """How much better it is than another one on the same test patches.

        Raises
        ------
        ValueError
            If the other one was tested on others.
        """
        if (self.patients, self.patches) != (other.patients, other.patches):
            raise ValueError("probes of different patches cannot be compared patient by patient")
        return Measured.of(self.samples[metric] - other.samples[metric])


def linear_probe(
    codes: ArrayLike,
    labels: Sequence[int] | NDArray[np.int64],
    test_codes: ArrayLike,
    test_labels: Sequence[int] | NDArray[np.int64],
    test_groups: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    strength: float = 1.0,
) -> Probe:
    """Fit a logistic regression on standardised codes, and test it.

    Parameters
    ----------
    codes, test_codes : (n, C), (m, C)
    labels, test_labels : (n,), (m,) int
        Classes; those of the test have to be among those of the training.
    test_groups : (m,) int, optional
        Patient of each test patch, whom the bootstrap draws as a whole; each patch is its own by default.
    seed : int
        Of the bootstrap.
    strength : float
        Inverse of the ridge penalty.

    Raises
    ------
    CohortError
        If there are fewer than two classes, or a class is tested that was not trained.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, target = np.unique(np.asarray(labels)), np.asarray(test_labels)
    if len(known) < 2 or not set(np.unique(target)) <= set(known):
        raise CohortError("a linear probe needs training patches of two classes or more, and of all it tests")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2_000))
    model.fit(np.asarray(codes, np.float64), np.asarray(labels))
    found = model.predict_proba(np.asarray(test_codes, np.float64))
    place = np.searchsorted(known, target)
    names, of = np.unique(np.arange(len(target)) if test_groups is None else test_groups, return_inverse=True)
    weights = _bootstrap(len(names), seed)[:, of]
    matrix = weighted_metrics.confusion(place, found.argmax(1), len(known), weights)
    tested = np.unique(place)
    scores = [weighted_metrics.auroc(place == one, found[:, one], weights) for one in tested]
    samples = {
        "accuracy": weighted_metrics.accuracy(matrix),
        "balanced accuracy": _mean_recall(matrix),
        "AUROC": np.mean(scores, axis=0),
    }
    return Probe(samples, len(names), len(target))


def _bootstrap(groups: int, seed: int) -> Floats:
    """(1 + R, groups) how often each group is drawn; first, once each."""
    if groups < FEWEST:
        return np.ones((1, groups))
    drawn = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), RESAMPLES)
    return np.concatenate([np.ones((1, groups)), drawn.astype(np.float64)])


def _mean_recall(matrix: Floats) -> Floats:
    """(R,) mean share of each class that is named rightly, over the classes that are there."""
    there = matrix.sum(2)
    recall = np.divide(np.einsum("rcc->rc", matrix), there, out=np.full(there.shape, np.nan), where=there > 0)
    return np.nanmean(recall, axis=1)


def colour_statistics(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 2 c) mean and standard deviation of each colour of (n, p, p, c) patches, in [0, 1]: a control."""
    flat = pixels.reshape(len(pixels), -1, pixels.shape[-1]).astype(np.float32) / 255
    return np.concatenate([flat.mean(1), flat.std(1)], 1)
