"""What arrives at the other end of a sequence: `python -m experiments.gradient_flow`."""
