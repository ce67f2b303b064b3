"""What the texts say of recurrent networks, measured: `python -m experiments.claims`."""
