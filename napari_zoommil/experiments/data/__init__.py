"""Published data sets of nuclei, read from their own layouts."""
