"""Parts of ZoomMIL left out or replaced (Table 4), and the two gradients of its selection."""
