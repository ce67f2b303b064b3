"""The Clockwork RNN over a whole sequence, module by module: what does not fire is not computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.cells.clockwork import ClockworkParams, ClockworkState, clockwork
from recurrax.cells.elman import ElmanParams, elman
from recurrax.compose.layers import as_model
from recurrax.core import SequenceModel, check_floating, check_input, check_length
from recurrax.scan.unroll import mask_padding, time_steps, unroll


def clockwork_by_module(
    features: int,
    periods: Sequence[int],
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    **initializers: Any,
) -> SequenceModel:
    """The Clockwork RNN (Koutnik et al., 2014) with every product skipped that does not fire.

    A module sees itself and the slower ones, never a faster one. So the slowest can run first, by
    itself, over every T_n-th step; the next one over every T_{n-1}-th, with what the slowest holds
    then as a further input; and so on. Each is an Elman network at its own rate: of T steps it runs
    ceil(T / T_i), each with one product [G] x [G, G] in its loop, and the products of the input and
    of the slower modules are one for all its steps. For n modules of periods 1, 2, 4, ... that is
    less than 2 T G^2 multiplications in loops, where the cell, step by step, makes T (n G)^2.

    The price is the loops' number: one after the other they make up to 2 T short steps, where
    `rx.unroll(rx.clockwork(...), ...)` makes T long ones.

    Arguments, params, states and results are those of `clockwork`, any of which can go on with
    the state of the other. Given `resets` or a `state`, whose t is known only at run time, when a
    module fires is so too, and `apply` unrolls the cell.

    Raises:
      TypeError, ValueError: as `clockwork` and `unroll`.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> model = rx.clockwork_by_module(8, (1, 2, 4, 8))
    >>> params = model.init(jax.random.key(0), jnp.ones((16, 3)))
    >>> state, ys = model.apply(params, jnp.ones((16, 3)))
    >>> ys.shape
    (16, 8)
    """
    cell = clockwork(features, periods, activation=activation, **initializers)
    stepwise = as_model(cell)
    width = features // len(periods)
    module = elman(width, activation=activation)

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        if state is not None or resets is not None:
            return stepwise.apply(params, xs, state=state, length=length, resets=resets, key=key)
        steps = time_steps(xs)
        cell.initial_state(params)  # checks them
        check_floating(f"{cell}", xs, "xs")
        check_input(f"{cell}", jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype), params.w_x.shape[0])
        valid, xs = mask_padding(xs, length)
        # Any integer dtype is a length, but an unsigned or a narrow one could overflow below.
        n = None if length is None else check_length(length, steps).astype(jnp.int32)
        states: list[jax.Array] = []
        tracks: list[jax.Array] = []  # what a module holds after each of the T steps, [T, G]
        for i in reversed(range(len(periods))):
            period = periods[i]
            before = [jnp.pad(track, ((1, 0), (0, 0)))[:steps] for track in tracks]
            inputs = jnp.concatenate([rows[::period] for rows in (xs, *before)], axis=1)
            fired = None if n is None else (n + period - 1) // period
            h, hs = unroll(module, _module_params(params, i), inputs, length=fired)
            states.insert(0, h)
            tracks.insert(0, jnp.repeat(hs, period, axis=0)[:steps])

        ys = jnp.concatenate(tracks, axis=1)
        if valid is not None:
            ys = jnp.where(valid[:, None], ys, jnp.zeros_like(ys))
        t = (steps if n is None else n) % math.lcm(*periods)
        return ClockworkState(jnp.concatenate(states), jnp.asarray(t, jnp.int32)), ys

    name = f"clockwork_by_module({features}, {tuple(periods)})"
    return SequenceModel(stepwise.init, apply, name)


def _module_params(params: ClockworkParams, i: int) -> ElmanParams:
    """Module i as an Elman network over [x, the slower modules' states]."""
    w = params.w_h[i]
    width = w.shape[1]
    units = slice(i * width, (i + 1) * width)
    return ElmanParams(
        w_x=jnp.concatenate([params.w_x[:, units], w[width:]]), w_h=w[:width], b=params.b[units]
    )
