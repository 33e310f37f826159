"""Cell detection from sparse points: targets, losses that tolerate unannotated cells, detectors, metrics."""
