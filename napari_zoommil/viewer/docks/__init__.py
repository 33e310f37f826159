"""The docks under Plugins › ZoomMIL, one family: what, how, act, result."""
