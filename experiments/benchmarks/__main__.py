"""recurrax beside its peers: time, compile time and memory, in one run.

    python -m experiments.benchmarks                    compile, memory and cells
    python -m experiments.benchmarks cells --quick      LSTM and GRU, three shapes: five minutes
    python -m experiments.benchmarks cells --cells lstm --shapes 32,100,128,256 --peers nnx torch
    python -m experiments.benchmarks compile            time to compile, beside plain lax.scan
    python -m experiments.benchmarks memory             temporary bytes of each way to a gradient
    python -m experiments.benchmarks decoding           beam search, beside a loop in PyTorch
    python -m experiments.benchmarks long               training on 100,000 steps in bounded memory

What is measured, and how it is kept fair: experiments/benchmarks/README.md.
"""

from __future__ import annotations

import dataclasses
import sys

import tyro

from experiments.benchmarks.options import Cells, Compile, Decode, Everything, Long, Memory
from experiments.common.devices import use_all_cores
from experiments.common.errors import run_main

_COMMANDS = {
    "cells": Cells,
    "compile": Compile,
    "decoding": Decode,
    "memory": Memory,
    "long": Long,
    "all": Everything,
}


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["all", *arguments]
    command = tyro.extras.subcommand_cli_from_dict(
        _COMMANDS,
        args=arguments,
        prog="python -m experiments.benchmarks",
        description=__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    use_all_cores()
    # Only now: these import JAX, which `--help` and a mistyped option need not wait for.
    from experiments.benchmarks import compiling, decoding, long, memory, speed

    runners = {
        Cells: speed.run,
        Compile: compiling.run,
        Decode: decoding.run,
        Memory: memory.run,
        Long: long.run,
    }
    commands = [command]
    if isinstance(command, Everything):
        common = dataclasses.asdict(command)
        commands = [Compile(**common), Memory(**common), Cells(**common)]
    for one in commands:
        runners[type(one)](one)


if __name__ == "__main__":
    run_main(main)
