"""The Attention dock: run a MIL model and show where it looks."""
