"""Lesions of known size in crops of slides (Needles in Haystacks, Figs. 4, 5c, 7b, 8b, 18 to 21)."""
