"""Training of MIL models: cohorts of labelled slides, or points on one slide."""
