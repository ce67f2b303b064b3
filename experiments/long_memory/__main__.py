"""Which cell, and which way to a gradient, learns to remember for how long.

    python -m experiments.long_memory                                 minutes on two cores
    python -m experiments.long_memory --tasks adding --lengths 25 100 400
    python -m experiments.long_memory --methods bptt uoro rtrl --features 16
    python -m experiments.long_memory --tasks permuted --mnist DIR    784 pixels instead of 64

The same command goes on where it was stopped. Hardware, times and the numbers to expect:
experiments/long_memory/README.md.
"""

from __future__ import annotations

import tyro

from experiments.common.devices import use_all_cores
from experiments.common.errors import run_main
from experiments.long_memory.options import Options


def main() -> None:
    options = tyro.cli(Options, prog="python -m experiments.long_memory", description=__doc__)
    use_all_cores()
    # Only now: it imports JAX, which `--help` and a mistyped option need not wait for.
    from experiments.long_memory.run import run

    run(options)


if __name__ == "__main__":
    run_main(main)
