"""The Detect cells dock: find cells and count them."""
