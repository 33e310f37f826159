"""Table 1 of Tellez et al. 2019: accuracy (mean, standard deviation over two seeds) of each encoder."""

from __future__ import annotations

TUMOUR: dict[str, tuple[float, float]] = {
    "vae": (0.799, 0.004),
    "contrastive": (0.789, 0.004),
    "bigan": (0.806, 0.022),
    "mean-rgb": (0.772, 0.001),
    "supervised-organ": (0.855, 0.001),
    "supervised-tissue": (0.800, 0.006),
}
"""Tumour on Camelyon16; the paper's supervised-tumour stands beside our supervised-organ."""

TISSUE: dict[str, tuple[float, float]] = {
    "vae": (0.639, 0.010),
    "contrastive": (0.520, 0.002),
    "bigan": (0.765, 0.013),
    "mean-rgb": (0.504, 0.022),
    "supervised-organ": (0.646, 0.008),
    "supervised-tissue": (0.904, 0.000),
}
"""Nine tissues on Rectum."""
