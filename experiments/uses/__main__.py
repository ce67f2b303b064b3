"""What recurrent networks are used for: one command each, on generated or on real data.

    python -m experiments.uses sentiment                     on data that the project generates
    python -m experiments.uses sentiment --data PATH         on real ones
    python -m experiments.uses sentiment --help              all settings

Each trains, and ends with a table beside a baseline, curves, and examples of what it does; the same
command goes on where it was stopped. What the data are and the numbers to expect:
experiments/uses/README.md.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.common.devices import use_all_cores
from experiments.common.errors import UserError, run_main

USES = [
    "sentiment",
    "tagging",
    "captioning",
    "speech",
    "forecasting",
    "anomalies",
    "music",
    "handwriting",
    "genome",
]
"""Folders; the class in the `use.py` of each is its name, capitalised."""


def find(name: str) -> Any:
    """The class of a use."""
    return getattr(importlib.import_module(f"experiments.uses.{name}.use"), name.capitalize())


def main() -> None:
    # The one that is asked for; all only where the help is to list them.
    uses = {name: find(name) for name in USES if name in sys.argv[1:2]}
    uses = uses or {name: find(name) for name in USES}
    commands: Any = {name: _command(name, use) for name, use in uses.items()}
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        name, settings, folder = tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="python -m experiments.uses",
            description=__doc__,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except ValueError as error:  # a setting out of its range
        raise UserError(f"{error}.") from error
    use_all_cores()
    from experiments.uses.run import run  # only now: it takes JAX's devices into use

    run(uses[name], settings, folder)


def _command(name: str, use: Any) -> Any:
    kind = type(use.defaults)

    def command(settings: Any = use.defaults, folder: Path = Path("runs") / name) -> Any:
        return name, settings, folder

    command.__annotations__ = {
        "settings": Annotated[kind, tyro.conf.arg(name="")],
        "folder": Path,
        "return": Any,
    }
    command.__doc__ = use.title
    return command


if __name__ == "__main__":
    run_main(main)
