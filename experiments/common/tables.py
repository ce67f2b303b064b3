"""Tables as Markdown, which is also what the terminal shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.common.timing import Timing


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in the source too."""
    lines = [list(header), *map(list, rows)]
    # A right-aligned column's rule needs two characters, "-:".
    widths = [
        max(min(column, 1) + 1, *(len(line[column]) for line in lines))
        for column in range(len(header))
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ) + " |"
        for line in (lines[0], rule, *lines[1:])
    )  # fmt: skip


def milliseconds(timing: Timing) -> str:
    """The median, and the quartiles in brackets."""
    digits = 2 if timing.median < 10 else 1 if timing.median < 100 else 0
    return f"{timing.median:.{digits}f} ({timing.low:.{digits}f}-{timing.high:.{digits}f})"
