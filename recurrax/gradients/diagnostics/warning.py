"""What gradient norms over time say, as a number and as one line."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from recurrax.checks import check_number


def memory_length(norms: jax.Array, *, fraction: float = 0.01) -> jax.Array:
    """Over how many steps a gradient stays above a fraction of what it is at the end.

        max k with |dL/ds_{e-k}| >= fraction |dL/ds_e|,    e the last step with a gradient

    It is e where nothing has vanished back to the beginning: the memory is at least so long. In
    expectation over inputs: the median over a batch, say, of `jax.vmap(rx.memory_length)`.

    Args:
      norms: [T + 1], as `gradient_flow(...).total` of a loss of the last step.
      fraction: in (0, 1]. What falls by exp(-1 / m) a step reaches m log(1 / fraction) steps.

    Returns:
      An integer; 0 where there is no gradient, or where it is not finite at the end.

    Raises:
      ValueError: norms of another shape; a fraction outside (0, 1].

    >>> import jax.numpy as jnp, recurrax as rx
    >>> print(rx.memory_length(0.5 ** jnp.arange(20.0)[::-1]))
    6
    """
    if check_number("memory_length", "fraction", fraction) > 1:
        raise ValueError(f"memory_length: fraction must lie in (0, 1], got {fraction}")
    if jnp.ndim(norms) != 1:
        raise ValueError(
            f"memory_length: norms must be [T + 1] of one example, got shape {jnp.shape(norms)}. "
            f"Use jax.vmap for the batch"
        )
    back = norms[::-1]
    end = jnp.argmax(back != 0)
    above = back >= fraction * back[end]
    furthest = norms.shape[0] - 1 - jnp.argmax(above[::-1])
    return jnp.where((back[end] > 0) & jnp.isfinite(back[end]), furthest - end, 0)


def gradient_warning(norms: Any, *, vanished: float = 1e-3, exploded: float = 1e3) -> str:
    """One line about gradients that vanish or explode over time; "" where they do neither.

    For a training loop to print, on arrays that have been computed: not under `jax.jit`.

    Args:
      norms: |dL/ds_t|, [T + 1], or [..., T + 1] for a batch, of which the median is taken; of a
        loss of the last step alone, as `gradient_flow(...).total`. Where it is zero at the end
        (past a sequence's length), it begins with the last that is not.
      vanished: a gradient has vanished below so much of what it is at the end; less than 1.
      exploded: it has exploded above so much of it; more than 1.

    Raises:
      TypeError: traced norms. ValueError: no time axis; a threshold on the wrong side of 1.

    >>> import numpy as np, recurrax as rx
    >>> rx.gradient_warning(0.8 ** np.arange(101.0)[::-1])
    'gradients vanish beyond 30 steps: |dL/ds| is 0.001 of its last value 31 steps back, 2e-10 of \
it 100 steps back'
    >>> rx.gradient_warning(np.ones(101))
    ''
    """
    vanished = check_number("gradient_warning", "vanished", vanished)
    exploded = check_number("gradient_warning", "exploded", exploded)
    if not vanished < 1 < exploded:
        raise ValueError(
            f"gradient_warning: expected vanished < 1 < exploded, got {vanished} and {exploded}"
        )
    if isinstance(norms, Tracer):
        raise TypeError(
            "gradient_warning: norms must be computed arrays, got traced ones. Return them from "
            "the jitted function, or use jax.debug.callback"
        )
    rows = np.asarray(norms, np.float64)
    if rows.ndim == 0 or rows.shape[-1] == 0:
        raise ValueError(f"gradient_warning: norms must be [..., T + 1], got shape {rows.shape}")
    rows = rows.reshape(-1, rows.shape[-1])
    relative = [_relative(row) for row in rows]
    reach = max(map(len, relative))
    if reach == 0:
        return "no gradient arrives at any step: |dL/ds| is 0 everywhere"
    # Sequences of other lengths: the median of those that have gone so far back.
    back = np.array([np.median([row[k] for row in relative if len(row) > k]) for k in range(reach)])
    if not np.all(np.isfinite(back)):
        return f"gradients are not finite from {int(np.argmin(np.isfinite(back)))} steps back"
    within = np.flatnonzero(back >= vanished)[-1]
    far = f"{back[-1]:.1g} of it {reach - 1} steps back"
    if within < reach - 1:
        first = f"{back[within + 1]:.1g} of its last value {within + 1} steps back"
        said = first if within + 1 == reach - 1 else f"{first}, {far}"
        return f"gradients vanish beyond {within} steps: |dL/ds| is {said}"
    if np.any(back > exploded):
        first = int(np.argmax(back > exploded))
        said = f"{back[first]:.1g} times its last value {first} steps back"
        end = "" if first == reach - 1 else f", {back[-1]:.1g} times it {reach - 1} steps back"
        return f"gradients explode beyond {first - 1} steps: |dL/ds| is {said}{end}"
    return ""


def _relative(row: np.ndarray) -> np.ndarray:
    """Norms from the last that is not zero back to the first step, relative to that one."""
    nonzero = np.flatnonzero(row)
    return row[: nonzero[-1] + 1][::-1] / row[nonzero[-1]] if len(nonzero) else row[:0]
