"""Experiments: `python -m experiments.NAME`. They use recurrax as any user would."""
