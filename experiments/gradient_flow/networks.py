"""The networks to compare, as they are before any training."""

from __future__ import annotations

import dataclasses
import math

import jax

import recurrax as rx


def networks(features: int, longest: int) -> dict[str, rx.Cell]:
    """By the names that they have in tables and plots.

    Args:
      longest: what the chrono biases are made for.
    """
    chrono = rx.initializers.chrono(longest)
    return {
        "Elman, Gaussian, radius 0.9": gaussian_elman(features, 0.9),
        "Elman, Gaussian, radius 2": gaussian_elman(features, 2.0),
        "Elman, orthogonal": rx.elman(features),
        "IRNN": rx.irnn(features),
        "GRU": rx.gru(features),
        "GRU, chrono": chrono_gru(features, longest),
        "LSTM of 1997": rx.lstm_1997(features),
        "LSTM, bias 1": rx.lstm(features),
        "LSTM, chrono": rx.lstm(features, forget_bias=chrono),
    }


def gaussian_elman(features: int, radius: float) -> rx.Cell:
    """An Elman network whose eigenvalues fill, in the limit of many units, a disc of this radius.

    (Girko's circular law; the textbooks' initialisation before orthogonal matrices.)
    """
    return rx.elman(features, w_h_init=jax.nn.initializers.normal(radius / math.sqrt(features)))


def chrono_gru(features: int, longest: int) -> rx.Cell:
    """A GRU whose update gate, which keeps the state where it is 1, starts with chrono biases."""
    cell = rx.gru(features)

    def init(key: jax.Array, x) -> rx.GRUParams:
        key_cell, key_b = jax.random.split(key)
        params = cell.init(key_cell, x)
        bias = rx.initializers.chrono(longest)(key_b, (features,), params.b.dtype)
        return params._replace(b=params.b.at[features : 2 * features].set(bias))

    return dataclasses.replace(cell, init=init)
