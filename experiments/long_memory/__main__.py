"""Which cell, and which way to a gradient, learns to remember for how long.

    python -m experiments.long_memory                                 minutes on two cores
    python -m experiments.long_memory --tasks adding --lengths 25 100 400
    python -m experiments.long_memory --methods bptt uoro rtrl
    python -m experiments.long_memory --features 64 --folder runs/wide  each folder its settings
    python -m experiments.long_memory --tasks permuted --mnist DIR --folder runs/mnist    784 pixels

The same command goes on where it was stopped, and so does one for more tasks, lengths, cells or
methods. Hardware, times and the numbers to expect: experiments/long_memory/README.md.
"""

from __future__ import annotations

import tyro

from experiments.common.devices import use_all_cores
from experiments.common.errors import run_main
from experiments.common.files import claimed
from experiments.long_memory.options import Options


def main() -> None:
    options = tyro.cli(Options, prog="python -m experiments.long_memory", description=__doc__)
    use_all_cores()
    # Only now: it imports JAX, which `--help` and a mistyped option need not wait for.
    from experiments.long_memory.run import run

    with claimed(options.output):  # what two processes find and save there, one would lose
        run(options)


if __name__ == "__main__":
    run_main(main)
