"""Common parts of ``needle-mnist`` and ``needle-localisation``: trials, trainings, tables."""
