"""The Annotate dock: mark cells with points."""
