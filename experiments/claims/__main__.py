"""What the texts say of recurrent networks, measured.

    python -m experiments.claims                            everything: minutes on two idle cores
    python -m experiments.claims --claims clipping          what clipping saves
    python -m experiments.claims --claims counting timing   peepholes and CIFG beside the LSTM
    python -m experiments.claims --claims characters speed  the GRU beside the LSTM
    python -m experiments.claims --quick                    everything tiny: whether it runs

Hardware, times and the numbers to expect: experiments/claims/README.md.
"""

from __future__ import annotations

import tyro

from experiments.claims.options import Options
from experiments.common.devices import use_all_cores
from experiments.common.errors import run_main


def main() -> None:
    options = tyro.cli(Options, prog="python -m experiments.claims", description=__doc__)
    options.chosen()
    use_all_cores()
    # Only now: it imports JAX, which `--help` and a mistyped option need not wait for.
    from experiments.claims.run import run

    run(options)


if __name__ == "__main__":
    run_main(main)
