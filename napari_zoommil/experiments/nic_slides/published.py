"""Tables 2 and 3 of Tellez et al. 2019: mean and standard deviation over two seeds."""

from __future__ import annotations

Numbers = dict[str, dict[str, tuple[float, float]]]

PRESENCE: Numbers = {
    "vae": {"all": (0.661, 0.007), "test": (0.671, 0.008), "macro": (0.634, 0.003)},
    "contrastive": {"all": (0.608, 0.001), "test": (0.651, 0.016), "macro": (0.606, 0.012)},
    "bigan": {"all": (0.725, 0.009), "test": (0.704, 0.030), "macro": (0.720, 0.010)},
    "mean-rgb": {"all": (0.582, 0.006), "test": (0.578, 0.016), "macro": (0.585, 0.014)},
    "supervised": {"all": (0.760, 0.002), "test": (0.771, 0.002), "macro": (0.914, 0.000)},
}
"""AUC of metastasis on Camelyon16. Its text states other numbers of BiGAN (0.716, 0.674)."""

SHARE: Numbers = {
    "vae": {"all": (0.419, 0.004)},
    "contrastive": {"all": (0.390, 0.006)},
    "bigan": {"all": (0.522, 0.001), "test": (0.558, 0.001)},
    "mean-rgb": {"all": (0.238, 0.020)},
    "supervised": {"all": (0.427, 0.014)},
}
"""Spearman's correlation with the proliferation speed on TUPAC16."""

PUBLISHED = {"presence": PRESENCE, "share": SHARE}
