"""Common parts of the experiments ``zoom-*``: cohort, features, trainings, results."""
