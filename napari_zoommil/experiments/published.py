"""Published results, for comparison with the experiments.

Supplement of Panteli et al., "Sparse-shot Learning with Exclusive Cross-Entropy for Extremely Many
Localisations" (ICCV 2021).
"""

from __future__ import annotations

ECE_SEGMENTATION: dict[str, dict[str, dict[int, tuple[float, float]]]] = {
    "TNBC": {
        "ce": {30: (0.43, 0.24), 60: (0.61, 0.43), 100: (0.84, 0.73)},
        "ece": {30: (0.80, 0.58), 60: (0.83, 0.73), 100: (0.82, 0.74)},
        "elr-asymmetric": {30: (0.55, 0.35), 60: (0.75, 0.41), 100: (0.82, 0.71)},
        "elr-cifar10": {30: (0.62, 0.51), 60: (0.73, 0.64), 100: (0.80, 0.67)},
        "elr-cifar100": {30: (0.63, 0.57), 60: (0.74, 0.61), 100: (0.79, 0.66)},
    },
    "CPM15": {
        "ce": {30: (0.47, 0.25), 60: (0.61, 0.52), 100: (0.80, 0.69)},
        "ece": {30: (0.79, 0.55), 60: (0.82, 0.64), 100: (0.81, 0.69)},
        "elr-asymmetric": {30: (0.24, 0.16), 60: (0.66, 0.58), 100: (0.81, 0.65)},
        "elr-cifar10": {30: (0.39, 0.26), 60: (0.65, 0.33), 100: (0.76, 0.68)},
        "elr-cifar100": {30: (0.59, 0.32), 60: (0.67, 0.44), 100: (0.76, 0.56)},
    },
    "CoNSeP": {
        "ce": {30: (0.47, 0.33), 60: (0.61, 0.45), 100: (0.80, 0.67)},
        "ece": {30: (0.78, 0.58), 60: (0.80, 0.70), 100: (0.79, 0.69)},
        "elr-asymmetric": {30: (0.53, 0.43), 60: (0.62, 0.45), 100: (0.76, 0.52)},
        "elr-cifar10": {30: (0.60, 0.36), 60: (0.66, 0.42), 100: (0.74, 0.43)},
        "elr-cifar100": {30: (0.66, 0.42), 60: (0.67, 0.67), 100: (0.69, 0.48)},
    },
}
"""Table 3: data set → loss → percent of labels → (Dice, AJI), U-Net."""

ECE_DETECTION: dict[str, dict[str, dict[int, float]]] = {
    "CoNSeP": {
        "ce": {90: 0.50, 100: 0.51},
        "ece": {90: 0.48, 100: 0.48},
        "ece-background": {90: 0.53, 100: 0.52},
    },
    "Kumar": {
        "ce": {90: 0.64, 100: 0.63},
        "ece": {90: 0.61, 100: 0.62},
        "ece-background": {90: 0.66, 100: 0.68},
    },
}
"""Table 4: data set → loss → percent of labels → F1, YOLLO."""
