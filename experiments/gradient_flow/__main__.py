"""Noise put in at one end of a sequence, a gradient at the other: what arrives, in which network.

    python -m experiments.gradient_flow             the table and the figure: a minute on two cores
    python -m experiments.gradient_flow --quick     tiny: whether it runs

Hardware, time and the numbers to expect: experiments/gradient_flow/README.md.
"""

from __future__ import annotations

import tyro

from experiments.common.devices import use_all_cores
from experiments.common.errors import run_main
from experiments.common.files import claimed
from experiments.gradient_flow.options import Options


def main() -> None:
    options = tyro.cli(Options, prog="python -m experiments.gradient_flow", description=__doc__)
    options.check()
    use_all_cores()
    # Only now: it imports JAX, which `--help` and a mistyped option need not wait for.
    from experiments.gradient_flow.run import run

    with claimed(options.output):  # what two processes find and save there, one would lose
        run(options)


if __name__ == "__main__":
    run_main(main)
