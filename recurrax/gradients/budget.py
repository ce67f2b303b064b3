"""So many bytes: which `checkpoint` makes a training step fit, and what that costs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from recurrax.checks import check_number
from recurrax.scan.checkpoint import Checkpoint, check_checkpoint

_MORE = {None: "0", "recursive": "log2(T / 8)"}


class CheckpointTrade(NamedTuple):
    """An option of `checkpoint` and the temporary bytes that the compiled step then takes."""

    checkpoint: Checkpoint
    bytes: int


class CheckpointPlan(NamedTuple):
    """What to choose, and from what; prints as a table. See `checkpoint_for`."""

    checkpoint: Checkpoint
    budget: int
    trades: tuple[CheckpointTrade, ...]

    def __str__(self) -> str:
        rows = [("checkpoint", "temporary MiB", "more forward passes", "")]
        for option, size in self.trades:
            note = "chosen" if option == self.checkpoint else ""
            note = "too large" if size > self.budget else note
            rows.append((repr(option), f"{size / 2**20:.2f}", _MORE.get(option, "1"), note))
        rows.append(("budget", f"{self.budget / 2**20:.2f}", "", ""))
        return "\n".join(f"{a:<11}{b:>14}{c:>21}  {d}".rstrip() for a, b, c, d in rows)


def checkpoint_for(
    budget: int | float,
    training_step: Callable[..., Any],
    *args: Any,
    candidates: Sequence[Checkpoint] = (None, "sqrt", "recursive"),
) -> CheckpointPlan:
    """The cheapest `checkpoint` of `rx.scan` and `rx.unroll` with which a step fits into memory.

    The step is compiled once for each candidate, for the device that JAX runs on, and not run:
    the bytes are XLA's own account of its temporary arrays, under `vmap`, with all layers, the loss
    and the optimizer that the step has. Arguments and results come on top, the same for all.

    Of those that fit, the one with the least work wins: None runs nothing twice; an int and "sqrt"
    the forward pass once more; "recursive" about log2(T / 8) times more. Of several ints and "sqrt"
    it is the one with the fewest bytes.

    Args:
      budget: in bytes.
      training_step: `(checkpoint, *args)`, such as the gradient of a loss that hands `checkpoint`
        to `rx.unroll`.
      *args: arrays, or `jax.ShapeDtypeStruct`s in their place.
      candidates: what `rx.scan` takes as `checkpoint`.

    Returns:
      The plan: `plan.checkpoint` is the choice, `print(plan)` shows the trade.

    Raises:
      ValueError: none fits (with the table; truncated backpropagation or a smaller batch will);
        no candidate, or an unknown one; the budget is not positive.
      TypeError: the budget is no number.
      RuntimeError: the backend's compiler does not tell its memory.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.lstm(16)
    >>> def gradient(checkpoint, params, xs):
    ...     last = lambda p: rx.unroll(cell, p, xs, checkpoint=checkpoint)[0].h.sum()
    ...     return jax.grad(last)(params)
    >>> params = cell.init(jax.random.key(0), jnp.ones(8))
    >>> plan = rx.checkpoint_for(2**18, gradient, params, jnp.ones((2000, 8)))
    >>> plan.checkpoint
    'sqrt'
    >>> print(plan)  # doctest: +SKIP
    checkpoint  temporary MiB  more forward passes
    None                 1.83                    0  too large
    'sqrt'               0.12                    1  chosen
    'recursive'          0.18          log2(T / 8)
    budget               0.25
    """
    check_number("checkpoint_for", "budget", budget)
    if not candidates:
        raise ValueError("checkpoint_for: candidates must not be empty")

    def measured(checkpoint: Checkpoint) -> CheckpointTrade:
        step = functools.partial(training_step, check_checkpoint(checkpoint))
        analysis = jax.jit(step).lower(*args).compile().memory_analysis()
        if analysis is None:
            raise RuntimeError(f"checkpoint_for: no account of memory on {jax.default_backend()}")
        return CheckpointTrade(checkpoint, int(analysis.temp_size_in_bytes))

    def work(trade: CheckpointTrade) -> tuple[int, int]:
        return (None, "sqrt", "recursive").index(
            "sqrt" if isinstance(trade.checkpoint, int) else trade.checkpoint
        ), trade.bytes

    trades = tuple(map(measured, candidates))
    fitting = [trade for trade in trades if trade.bytes <= budget]
    if not fitting:
        table = CheckpointPlan(None, int(budget), trades)
        raise ValueError(
            f"checkpoint_for: no checkpoint makes the step fit into {int(budget)} bytes. Take a "
            f"smaller batch, or truncated backpropagation.\n{table}"
        )
    return CheckpointPlan(min(fitting, key=work).checkpoint, int(budget), trades)
