"""The commands, and the printing of their results."""
