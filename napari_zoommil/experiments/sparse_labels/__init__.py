"""Exclusive cross-entropy and its controls on 10 to 100 % of the labels (ECE paper, Tables 3 and 4)."""
