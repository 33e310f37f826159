"""All MIL models on one cohort (ZoomMIL, Tables 1 to 3 and the supplement's Tables 1 to 3)."""
