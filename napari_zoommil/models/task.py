"""The task of a MIL model: classification, or regression of a number with a unit.

The task defines the loss, the link function from outputs to results, the metrics, and the text of a
result. torch is imported inside functions, so that reading configurations and results does not load it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_zoommil.errors import CohortError

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric

MOST_CLASSES = 20
"""Most distinct whole numbers that are taken for classes, such as 0/1 and grades, and not for counts."""

LOGIT = "logit"
"""Unit of the outputs of a classification."""


@dataclass(frozen=True)
class Classification:
    """Classification: softmax, cross-entropy, accuracy and weighted F1.

    Attributes
    ----------
    names : tuple of str
        Names of the classes, one per output.
    temperature : float
        By which outputs are divided before the softmax, so that probabilities are as often right as they say
        (Guo et al. 2017); a fact of the trained model, not of what is to be told apart.
    """

    names: tuple[str, ...]
    temperature: float = field(default=1.0, compare=False)

    output_unit: ClassVar[str] = LOGIT
    """Of the network's outputs, before the link function."""

    @classmethod
    def unnamed(cls, classes: int) -> Classification:
        """Classes without names: ``0``, ``1``, …"""
        return cls(tuple(map(str, range(classes))))

    def target(self, label: str) -> int:
        """Index of a label's class."""
        return self.names.index(label)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of (C,) logits with a class index, (), or with (C,) probabilities."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits[None], target[None])

    def link(self, logits: Tensor) -> Tensor:
        """(C,) logits → (C,) probabilities."""
        return (logits / self.temperature).softmax(0)

    def metrics(self) -> dict[str, Metric]:
        """Metrics by name; each takes the result of :meth:`measured` and (1,) targets."""
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        classes = len(self.names)
        return {
            "f1": MulticlassF1Score(classes, average="weighted"),
            "accuracy": MulticlassAccuracy(classes, average="micro"),
        }

    def measured(self, logits: Tensor) -> Tensor:
        """(C,) logits → (1, C)."""
        return logits[None]

    def balance(self, targets: Sequence[float]) -> list[float] | None:
        """Sampling weight of each example, with which classes are equally frequent."""
        counts = Counter(targets)
        return [1.0 / counts[target] for target in targets]

    def predicted(self, values: NDArray[np.float32]) -> str:
        """The most probable class."""
        return self.names[int(np.argmax(values))]

    def explained(self, values: NDArray[np.float32]) -> str:
        """Name of the output that is explained by default."""
        return self.predicted(values)

    def lines(self, values: NDArray[np.float32]) -> list[tuple[str, float | None, str]]:
        """A line for each output: name, fraction of 1 for a bar, and the value as text."""
        return [(name, float(value), f"{value:.2f}") for name, value in zip(self.names, values, strict=True)]

    def summary(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """The result for ``prediction.json``."""
        shares = zip(self.names, values, strict=True)
        return {
            "predicted": self.predicted(values),
            "probabilities": {name: round(float(value), 6) for name, value in shares},
        }

    def figures(self, values: NDArray[np.float32]) -> dict[str, float]:
        """The result as numbers for a table."""
        return {f"probability_{name}": float(v) for name, v in zip(self.names, values, strict=True)}

    def sentence(self, values: NDArray[np.float32]) -> str:
        """``normal 0.070, tumour 0.930``."""
        return ", ".join(f"{name} {value:.3f}" for name, value in zip(self.names, values, strict=True))


@dataclass(frozen=True)
class Regression:
    """Regression: squared error, mean absolute error and correlation.

    Attributes
    ----------
    unit : str
        Unit for display, such as ``cells/mm²``.
    name : str
        Name of the value.
    offset, scale : float
        The value is ``offset + scale · output``, with mean and standard deviation of the training
        labels, so that the network's outputs are standardised.
    """

    unit: str = ""
    name: str = "value"
    offset: float = 0.0
    scale: float = 1.0

    output_unit: ClassVar[str] = "standard deviations of the label"
    """Of the network's output, before the link function."""

    @classmethod
    def fitted(cls, values: Sequence[float], unit: str = "") -> Regression:
        """With the mean and standard deviation of the training labels as offset and scale."""
        spread = float(np.std(values))
        # The standard deviation of equal numbers can differ from 0, because their mean is rounded.
        told_apart = spread > np.finfo(np.float32).eps * np.abs(values).max()
        return cls(unit, offset=float(np.mean(values)), scale=spread if told_apart else 1.0)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the only output."""
        return (self.name,)

    def target(self, label: str) -> float:
        """The label as a number."""
        return float(label)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Squared error of the (1,) output, in units of ``scale``²; the target is in ``unit``."""
        from torch.nn.functional import mse_loss

        return mse_loss(logits, (target.reshape(1).to(logits) - self.offset) / self.scale)

    def link(self, logits: Tensor) -> Tensor:
        """(1,) output → (1,) value in ``unit``."""
        return self.offset + self.scale * logits

    def metrics(self) -> dict[str, Metric]:
        """Metrics by name; each takes the result of :meth:`measured` and (1,) targets."""
        from torchmetrics import MeanAbsoluteError, PearsonCorrCoef

        return {"mae": MeanAbsoluteError(), "correlation": PearsonCorrCoef()}

    def measured(self, logits: Tensor) -> Tensor:
        """(1,) output → (1,) value in ``unit``."""
        return self.link(logits)

    def balance(self, targets: Sequence[float]) -> list[float] | None:
        """None, because there are no classes to balance."""
        return None

    def predicted(self, values: NDArray[np.float32]) -> str:
        """The value with its unit."""
        return f"{values[0]:.4g} {self.unit}".rstrip()

    def explained(self, values: NDArray[np.float32]) -> str:
        """Name of the output that is explained by default."""
        return self.name

    def lines(self, values: NDArray[np.float32]) -> list[tuple[str, float | None, str]]:
        """A line for the output: name, None (there is no fraction for a bar), and the value as text."""
        return [(self.name, None, self.predicted(values))]

    def summary(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """The result for ``prediction.json``."""
        return {"predicted": float(values[0]), "unit": self.unit}

    def figures(self, values: NDArray[np.float32]) -> dict[str, float]:
        """The result as numbers for a table."""
        return {self.name: float(values[0])}

    def sentence(self, values: NDArray[np.float32]) -> str:
        """``value 12.3 cells/mm²``."""
        return f"{self.name} {self.predicted(values)}"


Task = Classification | Regression


def is_measurement(label: str) -> bool:
    """Whether a label is a finite number."""
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def are_measurements(labels: Sequence[str]) -> bool:
    """Whether labels are measurements and not names of classes, which are often numbers too.

    True if all labels are numbers, and one has a fraction or there are more than :data:`MOST_CLASSES`
    different ones.
    """
    if not all(map(is_measurement, labels)):
        return False
    values = {float(label) for label in labels}
    return len(values) > MOST_CLASSES or any(value != int(value) for value in values)


def learns_numbers(labels: Sequence[str], kind: str) -> bool:
    """Whether labels are to be learnt as numbers.

    Parameters
    ----------
    labels : sequence of str
    kind : {"auto", "classification", "regression"}
    """
    return kind == "regression" or (kind == "auto" and are_measurements(labels))


def measurements(labels: Sequence[str]) -> list[float]:
    """Labels as numbers.

    Raises
    ------
    CohortError
        If one is not a number.
    """
    for label in labels:
        if not is_measurement(label):
            raise CohortError(f"a regression needs a number for each slide, and {label!r} is not a number")
    return [float(label) for label in labels]
