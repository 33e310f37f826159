"""What a network needs to find a 3 among other digits (Needles in Haystacks, Figs. 4 to 9 and 12 to 15)."""
