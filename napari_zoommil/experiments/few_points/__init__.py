"""What a detector learns from sixty points on one slide."""
