"""How fast nearby states part or meet: the Lyapunov spectrum of a recurrence."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.checks import check_count
from recurrax.core import PyTree, as_cell, split_key
from recurrax.gradients.diagnostics.jacobians import numbers_of
from recurrax.scan.scan import scan
from recurrax.scan.unroll import time_steps


class LyapunovSpectrum(NamedTuple):
    """Exponents in nats a step, the fastest first.

    Attributes:
      exponents: [K], over all T steps.
      running: [T, K], over the first t steps: whether they have settled.
    """

    exponents: jax.Array
    running: jax.Array


def lyapunov_spectrum(
    cell: Any,
    params: PyTree,
    xs: PyTree,
    *,
    directions: int | None = None,
    state: PyTree = None,
    key: jax.Array | None = None,
) -> LyapunovSpectrum:
    """The K largest Lyapunov exponents along a sequence, by QR iteration.

        Q_t R_t = J_t Q_{t-1},    J_t = ds_t/ds_{t-1}
        exponent_i = 1/T sum_t log |R_t[i, i]|

    A perturbation of the state, and the gradient of a late loss by an early state, change by
    exp(exponent_1) a step in the long run: below 0 they vanish, with a memory of -1 / exponent_1
    steps; above 0 they explode. A step takes K products of J_t with a vector and one QR
    decomposition [N, K]: one direction is nearly free. -inf says that a direction is lost for good.

    The first exponent converges as 1/T, the more slowly the nearer the next one is; look at
    `running`, and start from a `state` that some steps have led to.

    Args:
      cell: any cell.
      params: what `cell.init` made.
      xs: the inputs, arrays [T, ...]; T at least 1.
      directions: K, from 1 to N, the count of numbers in the state's floating leaves; all by
        default.
      state: the state before the first step; `cell.initial_state(params)` by default.
      key: split into one key a step, as in `rx.unroll`.

    Raises:
      ValueError: `directions` out of range; no steps.
      TypeError: `cell` is no cell; no leaf of the state is floating, or one is complex.

    Source: Benettin et al., 1980, "Lyapunov characteristic exponents for smooth dynamical systems";
    of recurrent networks: Engelken, Wolf and Abbott, 2023, "Lyapunov spectra of chaotic recurrent
    neural networks".

    >>> import jax.numpy as jnp, recurrax as rx
    >>> step = lambda p, s, x: (p * s, s)
    >>> linear = rx.Cell(lambda key, x: None, lambda p: jnp.ones(2), step)
    >>> spectrum = rx.lyapunov_spectrum(linear, jnp.array([0.5, 2.0]), jnp.zeros(400))
    >>> print(spectrum.exponents.round(2))  # log 2 and -log 2
    [ 0.69 -0.69]
    """
    name = "lyapunov_spectrum"
    cell = as_cell(cell)
    steps = time_steps(xs)
    if steps == 0:
        raise ValueError(f"{name}: xs must have at least one step, got none")
    state = cell.initial_state(params) if state is None else state
    state = jax.tree.map(jnp.asarray, state)
    flat, _ = numbers_of(name, state)
    wide = jnp.promote_types(flat.dtype, jnp.float32)  # that of the basis: QR takes none narrower
    count = flat.size if directions is None else directions
    check_count(name, "directions", count)
    if count > flat.size:
        raise ValueError(
            f"{name}: directions must be at most N = {flat.size}, the numbers in the state, got "
            f"{directions}"
        )

    def step(carry, inputs):
        state, basis = carry
        x, step_key = inputs
        numbers, with_numbers = numbers_of(name, state)

        def advance(numbers):
            after, _ = cell.step(params, with_numbers(numbers), x, step_key)
            return numbers_of(name, after)[0], after

        _, push, after = jax.linearize(advance, numbers, has_aux=True)
        pushed = jax.vmap(push, 1, 1)(basis.astype(numbers.dtype))
        basis, stretch = jnp.linalg.qr(pushed.astype(wide))
        return (after, basis), jnp.log(jnp.abs(jnp.diagonal(stretch)))

    keys = None if key is None else split_key(name, key, steps)
    _, stretches = scan(step, (state, _cosines(flat.size, count, wide)), (xs, keys))
    running = jnp.cumsum(stretches, axis=0) / jnp.arange(1, steps + 1)[:, None]
    return LyapunovSpectrum(running[-1], running)


def _cosines(size: int, count: int, dtype: Any) -> jax.Array:
    """`count` orthonormal columns (of the discrete cosine transform) that favour no unit.

    Unit vectors are what a diagonal recurrence keeps apart: they may miss its fastest direction.
    """
    rows, columns = jnp.arange(size)[:, None] + 0.5, jnp.arange(count)
    waves = jnp.cos(jnp.pi * rows * columns / size)
    return (waves / jnp.linalg.norm(waves, axis=0)).astype(dtype)
