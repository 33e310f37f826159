"""Readers for published data sets of nuclei."""
