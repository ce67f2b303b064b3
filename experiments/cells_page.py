"""docs/cells.md: every cell in one line, its equations and its paper, made from the docstrings.

    python -m experiments.cells_page            writes docs/cells.md: seconds

A docstring begins with one sentence that names the paper in brackets, "(Elman, 1990)", and gives
the equations in an indented block. The tests compare the page with what this would write.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import recurrax as rx
from experiments.common.errors import UserError, run_main
from experiments.common.files import write_file

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cells.md"

FAMILIES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "Simple networks": ("elman", "jordan", "irnn", "indrnn", "clockwork", "rhn"),
        "Long short-term memory": (
            "lstm",
            "lstm_1997",
            "peephole_lstm",
            "coupled_lstm",
            "projected_lstm",
            "layer_norm_lstm",
            "depth_gated_lstm",
            "greff_lstm",
            "slstm",
            "mlstm",
        ),
        "Gated units without a cell state": ("gru", "layer_norm_gru", "mgu", "ugrnn"),
        "Discretised differential equations": ("antisymmetric", "cornn", "lem"),
        "Convolutional cells": ("conv_lstm", "conv_gru"),
        "Linear recurrences": ("min_gru", "min_lstm", "lru", "rg_lru", "s4d", "s5"),
    }
)
NO_RECURRENCE = ("dense",)
"""What `recurrax.cells` has besides: layers, no cells of any paper."""

HEAD = """# The cells

Made from the docstrings by `python -m experiments.cells_page`; not to be edited by hand.

x_t is the input of a step, y_t its output, and all vectors are rows. Between two vectors `*` is
elementwise, `(*)` is a convolution, and what stands side by side is a matrix product. `[i, f] = a`
cuts a into parts of equal width. Each is a factory, `rx.lstm(128)`, whose docstring has the
arguments, the errors and an example.
"""

_CITATION = re.compile(r"\s*\(([^()]*\b(?:19|20)\d\d\b[^()]*)\)")


def page(factories: Mapping[str, Callable[..., rx.Cell]] | None = None) -> str:
    """The whole page.

    Args:
      factories: by name; what `exported` finds unless given.

    Raises:
      UserError: a factory is in no family, or the families name one that does not exist; a
        docstring lacks the form. The cell is named.
    """
    factories = exported() if factories is None else factories
    listed = [name for names in FAMILIES.values() for name in names]
    if missing := sorted(set(factories) - set(listed)):
        raise UserError(f"{missing[0]} is in no family of {Path(__file__).name}.")
    if unknown := sorted(set(listed) - set(factories)):
        raise UserError(f"{Path(__file__).name} lists {unknown[0]}, which is no exported cell.")
    parts = [HEAD]
    for family, names in FAMILIES.items():
        links = ", ".join(f"[{name}](#{name})" for name in names)
        parts.append(f"- {family}: {links}")
    for family, names in FAMILIES.items():
        parts.append(f"\n## {family}")
        parts.extend(entry(name, factories[name]) for name in names)
    return "\n".join(parts) + "\n"


def exported() -> dict[str, Callable[..., rx.Cell]]:
    """Every cell factory in recurrax's public names."""
    return {
        name: value
        for name, value in vars(rx).items()
        if inspect.isfunction(value)
        and value.__module__.startswith("recurrax.cells.")
        and name not in NO_RECURRENCE
    }


def entry(name: str, factory: Callable[..., rx.Cell]) -> str:
    """One cell's part of the page.

    Raises:
      UserError: its docstring has no citation in its first sentence, or no equations.
    """
    summary, *others = (inspect.getdoc(factory) or "").split("\n\n")
    citations = _CITATION.findall(summary)
    if not citations:
        raise UserError(
            f"{name}: the first sentence of the docstring must cite a paper in brackets, such as "
            f'"(Elman, 1990)"; got "{summary}"'
        )
    described = others[: _index(others, lambda part: part.startswith("Args:"))]
    at = _index(described, lambda part: part.startswith("    "))
    if at == len(described):
        raise UserError(f"{name}: the docstring must have the equations in an indented block.")
    # The sentence that the equations are a part of may begin before them and end after them.
    before = [_joined(part) for part in described[:at]]
    after = [_joined(part) for part in described[at + 1 : at + 2] if part[:1].islower()]
    after = [sentence.split(". ")[0].rstrip(".") + "." for sentence in after]
    path = Path(inspect.getsourcefile(factory) or "").resolve().relative_to(ROOT).as_posix()
    return "\n\n".join(
        [
            f"\n### {name}",
            _joined(_CITATION.sub("", summary)),
            *before,
            f"```\n{inspect.cleandoc(described[at])}\n```",
            *after,
            f"{'; '.join(citations).replace(chr(10), ' ')}. [{Path(path).name}](../{path})",
        ]
    )


def _index(parts: Sequence[str], test: Callable[[str], bool]) -> int:
    """Where the first part is that passes; their number where none does."""
    return next((at for at, part in enumerate(parts) if test(part)), len(parts))


def _joined(paragraph: str) -> str:
    return " ".join(paragraph.split())


def main() -> None:
    write_file(PAGE, page())
    print(PAGE)


if __name__ == "__main__":
    run_main(main)
