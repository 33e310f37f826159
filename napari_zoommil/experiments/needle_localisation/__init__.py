"""Where networks see the 3: saliency on needle-MNIST (Needles in Haystacks, Figs. 16 and 17)."""
