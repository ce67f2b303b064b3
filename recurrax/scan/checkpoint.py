"""Checkpointing: a loop as loops within loops, of which only the states between them are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from recurrax.scan.pieces import Loop

Checkpoint = int | str | None
# Below so many steps halving saves less than it costs in loops.
_SHORTEST = 8


def check_checkpoint(how: Any) -> Checkpoint:
    """The argument `checkpoint` of `scan`.

    Raises:
      ValueError: it is not one of those that exist.
    """
    if how is None or how in ("sqrt", "recursive"):
        return how
    if isinstance(how, int | np.integer) and not isinstance(how, bool) and how >= 1:
        return int(how)
    raise ValueError(
        f"checkpoint: expected None, a number of steps of at least 1, 'sqrt' or 'recursive', "
        f"got {how!r}"
    )


def levels(how: int | str, length: int) -> tuple[int, ...]:
    """Lengths of loops within loops, the innermost last; their product is at most `length`.

    >>> levels(10, 35), levels("sqrt", 100), levels("recursive", 100)
    ((3, 10), (10, 10), (2, 2, 2, 12))
    """
    if how == "recursive":
        depth = max(0, int(math.log2(length / _SHORTEST))) if length >= _SHORTEST else 0
        return (*(2,) * depth, length >> depth)
    chunk = min(length, math.isqrt(length - 1) + 1 if how == "sqrt" else int(how))
    return (length // chunk, chunk)


def checkpointed(
    run: Callable[..., tuple[list[Any], list[Any]]],
    loop: Loop,
    init: Sequence[Any],
    xs: Sequence[Any],
    how: int | str,
) -> tuple[list[Any], list[Any]]:
    """`run(loop, init, xs) -> (carry, ys)` in pieces that are run again for the backward pass."""
    nest = levels(how, loop.length)
    head = math.prod(nest)

    def first(carry):
        return _nested(run, loop, nest, carry, [x[:head] for x in xs])

    def rest(carry):
        last = loop._replace(length=loop.length - head)
        if isinstance(how, str):
            return checkpointed(run, last, carry, [x[head:] for x in xs], how)
        return jax.checkpoint(lambda c, x: run(last, c, x))(carry, [x[head:] for x in xs])

    carry = list(init)
    if head == loop.length:
        return first(carry)
    if loop.reverse:
        carry, late = rest(carry)
        carry, early = first(carry)
    else:
        carry, early = first(carry)
        carry, late = rest(carry)
    ys = [jax.numpy.concatenate(pair) for pair in zip(early, late, strict=True)]
    return carry, ys


def _nested(
    run: Callable[..., tuple[list[Any], list[Any]]],
    loop: Loop,
    nest: tuple[int, ...],
    init: list[Any],
    xs: list[Any],
) -> tuple[list[Any], list[Any]]:
    if len(nest) == 1:
        return run(loop._replace(length=nest[0]), init, xs)

    def body(carry, x):
        return _nested(run, loop, nest[1:], carry, x)

    inner = math.prod(nest[1:])
    rows = [x.reshape(nest[0], inner, *x.shape[1:]) for x in xs]
    # Within a loop the compiler cannot merge the second run with the first.
    again = jax.checkpoint(body, prevent_cse=False)
    carry, ys = jax.lax.scan(again, init, rows, nest[0], loop.reverse)
    return carry, [y.reshape(nest[0] * inner, *y.shape[2:]) for y in ys]
