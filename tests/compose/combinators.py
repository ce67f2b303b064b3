"""Every combinator, as a function of any cell: what `test_any_on_any` crosses with every cell."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import recurrax as rx
from recurrax.compose.rates import path_names


def shaped(shape: Any) -> rx.Cell:
    """A stateless cell that brings any output to one shape, so that it can be added or fed back."""

    def step(params, state, y):
        # The weights make each element of y count on its own.
        weights = jnp.linspace(0.2, 0.4, y.size, dtype=y.dtype)
        return state, jnp.tanh(y.ravel() @ weights) * jnp.ones(shape, y.dtype)

    return rx.Cell(lambda key, x: (), lambda params: (), step, f"shaped({shape})")


flat = rx.Cell(
    lambda key, x: (), lambda params: (), lambda params, state, y: (state, y.ravel()), "flat()"
)


def weight_names(cell: Any, x: Any) -> list[str]:
    """`w_h` where the cell has one; otherwise all that its params have."""
    params = jax.eval_shape(cell.init, jax.random.key(0), x)
    names = {path_names(path)[-1] for path, _ in jax.tree.leaves_with_path(params)}
    return ["w_h"] if "w_h" in names else sorted(names)


def pooled(how: str):
    return lambda cell, x: rx.serial(cell, rx.pool(how))


ALIGNED = {
    "serial": lambda cell, x: rx.serial(cell, flat),
    "stack": lambda cell, x: rx.as_model(rx.stack(cell, flat)),
    "bidirectional": lambda cell, x: rx.bidirectional(cell, cell, merge="mean"),
    "bidirectional_models": lambda cell, x: rx.bidirectional(rx.as_model(cell), rx.as_model(cell)),
    "residual": lambda cell, x: rx.as_model(rx.residual(rx.stack(cell, shaped(x.shape)))),
    "residual_model": lambda cell, x: rx.residual(rx.serial(cell, shaped(x.shape))),
    "densely_connected": lambda cell, x: rx.as_model(
        rx.densely_connected(rx.stack(cell, shaped(x.shape)), shaped(x.shape))
    ),
    "dropout": lambda cell, x: rx.serial(rx.dropout(0.5), cell),
    "dropout_variational": lambda cell, x: rx.serial(rx.dropout(0.5, variational=True), cell),
    "zoneout": lambda cell, x: rx.as_model(rx.zoneout(cell, 0.5)),
    "weight_dropout": lambda cell, x: rx.weight_dropout(cell, 0.5, weight_names(cell, x)),
    "recurrent_dropout": lambda cell, x: rx.recurrent_dropout(cell, 0.5, weight_names(cell, x)),
    "state_dropout": lambda cell, x: rx.state_dropout(cell, 0.5),
    "layer_norm": lambda cell, x: rx.serial(cell, flat, rx.layer_norm()),
    "rms_norm": lambda cell, x: rx.serial(cell, flat, rx.rms_norm()),
    "learned_state": lambda cell, x: rx.as_model(rx.learned_state(cell)),
}
"""Models with an output at every step."""

POOLED = {
    "pool_last": pooled("last"),
    "pool_mean": pooled("mean"),
    "pool_max": pooled("max"),
    "attention_pool": lambda cell, x: rx.serial(cell, flat, rx.attention_pool(rx.additive(2))),
}
"""Models with one output."""
