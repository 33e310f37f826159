"""Fine-tuning of a detector with sixty points on one slide."""
