"""ZoomMIL's attention beside the known region (ZoomMIL, Fig. 4; supplement, Figs 3 and 4)."""
