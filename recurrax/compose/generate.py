"""One to many and one to one: a vector drives a sequence; one step of a cell on a vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from recurrax.compose.layers import Unaligned
from recurrax.core import Cell, PyTree, as_cell, check_function, check_result
from recurrax.scan.unroll import unroll


def autoregressive(
    cell: Any, steps: int, *, feed: Callable[[PyTree], PyTree] = lambda y: y
) -> Unaligned:
    """A vector drives a sequence: the cell's output is its next input (Graves, 2013).

        s_t, y_t = step(params, s_{t-1}, x_t),    x_1 = x,    x_{t+1} = feed(y_t)

    Gives `(s_T, y [T, ..])` of one input x, T being `steps`. Here `length` is of the outputs: past
    it they are zero and the state is held. `state` is s_0, such as an encoder's last state;
    `(s_T, feed(y_T))` goes on from there. A cell that samples its output does so with its key.

    Args:
      cell: any cell; `rx.stack(rx.lstm(H), rx.dense(D))` brings the output to the input's width.
      steps: T, at least 0.
      feed: the next input of an output, such as the embedding of the likeliest symbol.

    Raises:
      TypeError: `cell` is no cell, `steps` no int, `feed` no function.
      ValueError: `steps` is negative; what is fed back has not the shapes and dtypes of x;
        `length` out of range; `resets`, since x has no time axis.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> double = rx.Cell(lambda key, x: (), lambda params: (), lambda params, s, x: (s, 2 * x))
    >>> print(rx.autoregressive(double, 4).apply((), jnp.array(1.0), length=3)[1])
    [2. 4. 8. 0.]
    """
    cell = as_cell(cell)
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"autoregressive: steps must be an int, got {steps!r}")
    if steps < 0:
        raise ValueError(f"autoregressive: steps must be at least 0, got {steps}")
    check_function("autoregressive", "feed", feed)
    name = f"autoregressive({cell}, {steps})"

    def step(params, carry, _, key=None):
        state, x = carry
        state, y = check_result(f"{cell}", cell.step(params, state, x, key))
        fed = feed(y)
        if _specs(fed) != _specs(x):
            raise ValueError(
                f"{name}: what is fed back must be like the input, {_specs(x)}, got {_specs(fed)}. "
                f"Give feed, or end the cell in a layer of that width: rx.stack(cell, rx.dense(D))"
            )
        return (state, fed), y

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        _check_no_time_axis(name, resets=resets)
        x = jax.tree.map(jnp.asarray, xs)
        looped = Cell(cell.init, lambda params: (cell.initial_state(params), x), step, name)
        carry = None if state is None else (state, x)
        numbers = jnp.arange(steps)
        (state, _), ys = unroll(looped, params, numbers, state=carry, length=length, key=key)
        return state, ys

    return Unaligned(cell.init, apply, name, of_vector=True)


def one_step(cell: Any) -> Unaligned:
    """One step of a cell, on an input without a time axis: y = step(params, state, x).

    For what stands on top of pooling (`rx.one_step(rx.dense(classes))`), and one to one.

    Raises:
      TypeError: `cell` is no cell. ValueError: `length` or `resets`, since x has no time axis.
    """
    cell = as_cell(cell)
    name = f"one_step({cell})"

    def apply(params, xs, *, state=None, length=None, resets=None, key=None):
        _check_no_time_axis(name, length=length, resets=resets)
        state = cell.initial_state(params) if state is None else state
        return check_result(f"{cell}", cell.step(params, state, xs, key))

    return Unaligned(cell.init, apply, name, of_vector=True)


def _specs(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), tree)


def _check_no_time_axis(name: str, **arguments: Any) -> None:
    for argument, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"{name}: {argument} speaks of a time axis, but the input is one vector without"
            )
