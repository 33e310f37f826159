"""Tables 1 and 2 of the supplement of Pawlowski et al. 2020: the data sets of needle-CAMELYON."""

from __future__ import annotations

Counts = tuple[int, int, int]
"""Training, validation, test."""

LESIONS: dict[str, dict[int, Counts]] = {
    "50-100": {128: (20, 0, 8), 256: (27, 2, 13), 512: (23, 5, 13)},
    "10-50": {128: (84, 12, 16), 256: (101, 16, 15), 512: (68, 15, 17)},
    "1-10": {128: (176, 17, 18), 256: (227, 17, 18), 512: (235, 21, 15)},
    "0.1-1": {128: (33, 5, 5), 256: (93, 16, 9), 512: (173, 20, 11)},
}
"""Table 1: unique lesions, by percent of lesion and size of the crops."""

POSITIVE: dict[str, dict[int, Counts]] = {
    "50-100": {128: (1000, 0, 400), 256: (1350, 100, 650), 512: (1150, 250, 650)},
    "10-50": {128: (4200, 600, 800), 256: (5050, 800, 750), 512: (3400, 750, 850)},
    "1-10": {128: (8686, 850, 900), 256: (11270, 850, 900), 512: (11750, 1050, 750)},
    "0.1-1": {128: (1488, 247, 207), 256: (4255, 800, 450), 512: (8312, 965, 550)},
}
"""Table 2: positive crops."""
