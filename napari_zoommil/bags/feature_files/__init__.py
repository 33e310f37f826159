"""Feature files of other tools: h5 of CLAM, TRIDENT, STAMP and ZoomMIL read in place; TRIDENT's written."""
