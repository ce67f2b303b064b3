"""The Clockwork RNN: modules that run at different rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import (
    Cell,
    check_features,
    check_function,
    check_input,
    check_params,
    check_state,
    input_struct,
    split_key,
)
from recurrax.initializers import Initializer, per_gate

_gaussian: Initializer = jax.nn.initializers.normal(0.1)


class ClockworkParams(NamedTuple):
    """`w_x` [D, H], `w_h` a tuple of one matrix a module, `b` [H].

    `w_h[i]` [H - i G, G] leads to module i, of G units, from modules i, i + 1, ...: the blocks of
    the triangular recurrent matrix that are not zero.
    """

    w_x: jax.Array
    w_h: tuple[jax.Array, ...]
    b: jax.Array


class ClockworkState(NamedTuple):
    """`h` [H] the modules' states, the output; `t` the steps so far, an int32, modulo the least
    common multiple of the periods.
    """

    h: jax.Array
    t: jax.Array


def clockwork(
    features: int,
    periods: Sequence[int],
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    w_x_init: Initializer = _gaussian,
    w_h_init: Initializer = _gaussian,
) -> Cell:
    """The Clockwork RNN, CW-RNN (Koutnik et al., 2014, arXiv:1402.3511).

        n = f(x_t W_x + h_{t-1} W_h + b)
        h_t = n in the modules i with t mod T_i = 0, elsewhere h_{t-1};    y_t = h_t

    The H units are modules of equal width, in order of their periods T_1 < T_2 < ... A module sees
    itself and the slower ones: W_h is block-triangular (upper in the paper, where it multiplies
    columns; lower here, where rows). t counts from 0, where all modules fire, and is part of the
    state, `ClockworkState(h, t)`; a reset sets it back.

    This cell computes the whole product at every step and selects from it: under `vmap` each
    example has its own t, and a branch on it would run both sides. What does not fire is really
    skipped by `clockwork_by_module`, which has the same params, states and results.

    Args:
      features: H, the width of the state and of the output; a multiple of the number of modules.
      periods: T_i, increasing positive ints; powers of two in the paper.
      activation: f, elementwise.
      w_x_init: draws W_x [D, H]; Gaussian with deviation 0.1, as in the paper.
      w_h_init: draws each module's matrix.

    Raises:
      TypeError, ValueError: `features` is no positive int, or no multiple; `periods` are not
        increasing positive ints; `activation` no function; params or state of another cell; x is
        not a floating vector of width D.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.clockwork(4, periods=(1, 4))
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> state, ys = rx.unroll(cell, params, jnp.ones((7, 3)))
    >>> print(state.t, jnp.any(ys[1:] != ys[:-1], axis=0))
    3 [ True  True  True  True]
    >>> print(jnp.any(ys[1:4] != ys[:3], axis=0))
    [ True  True False False]
    """
    name = f"clockwork({features}, {_listed(periods)})"
    check_features(name, features)
    periods = _check_periods(name, periods)
    if features % len(periods):
        raise ValueError(
            f"{name}: features must be a multiple of the number of modules, {len(periods)}"
        )
    check_function(name, "activation", activation)
    check_function(name, "w_x_init", w_x_init)
    check_function(name, "w_h_init", w_h_init)
    width = features // len(periods)
    starts = range(0, features, width)
    cycle = math.lcm(*periods)
    period_of_unit = [period for period in periods for _ in range(width)]

    def init(key: jax.Array, x) -> ClockworkParams:
        x = input_struct(name, x)
        key_x, *keys_h = split_key(name, key, 1 + len(periods))
        draw = per_gate(w_h_init, 1)
        return ClockworkParams(
            w_x=per_gate(w_x_init, 1)(key_x, (x.shape[0], features), x.dtype),
            w_h=tuple(
                draw(k, (features - start, width), x.dtype)
                for k, start in zip(keys_h, starts, strict=True)
            ),
            b=jnp.zeros(features, x.dtype),
        )

    def initial_state(params: ClockworkParams) -> ClockworkState:
        check_params(name, params, ClockworkParams, b=(features,))
        expected = tuple((features - start, width) for start in starts)
        if tuple(map(jnp.shape, params.w_h)) != expected:
            raise ValueError(
                f"{name}: params.w_h must have shapes {expected}, got "
                f"{tuple(map(jnp.shape, params.w_h))}; were they made for other periods?"
            )
        return ClockworkState(jnp.zeros_like(params.b), jnp.zeros((), jnp.int32))

    def step(params: ClockworkParams, state: ClockworkState, x: jax.Array, key=None):
        check_state(name, state, jax.eval_shape(initial_state, params))
        check_input(name, x, params.w_x.shape[0])
        h, t = state
        columns = [jnp.pad(w, ((features - w.shape[0], 0), (0, 0))) for w in params.w_h]
        n = activation(x @ params.w_x + h @ jnp.concatenate(columns, axis=1) + params.b)
        fires = jax.lax.rem(t, jnp.array(period_of_unit, t.dtype)) == 0
        h = jnp.where(fires, n, h)
        return ClockworkState(h, jax.lax.rem(t + 1, jnp.array(cycle, t.dtype))), h

    return Cell(init, initial_state, step, name)


def _listed(periods: Sequence[int]) -> str:
    return str(tuple(periods)) if isinstance(periods, Sequence) else repr(periods)


def _check_periods(name: str, periods: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(periods, Sequence) or not all(
        isinstance(period, int) and not isinstance(period, bool) for period in periods
    ):
        raise TypeError(f"{name}: periods must be a sequence of ints, got {periods!r}")
    if not periods or periods[0] < 1 or list(periods) != sorted(set(periods)):
        raise ValueError(f"{name}: periods must be increasing and at least 1, got {periods!r}")
    if math.lcm(*periods) >= 2**31:
        raise ValueError(
            f"{name}: periods must have a least common multiple below 2**31, got {periods!r}"
        )
    return tuple(periods)
