"""Length penalties: `score(log_prob, length)`, by which finished hypotheses are compared.

A length penalty is any function of a log-probability and a length (the end token counted) that does
not fall as the log-probability rises and that is monotone in the length, either way. Then the best
score that a prefix can still reach is at its shortest or at its longest possible length, and the
search knows when to stop and what it has proven, with no further help from the penalty.

The factories return pytrees, so that a penalty can be an argument of a jitted function: another
strength compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from recurrax.decode import checks

LengthPenalty = Callable[[jax.Array, jax.Array], jax.Array]


def gnmt(alpha: float | jax.Array) -> LengthPenalty:
    """log_prob / ((5 + length) / 6)^alpha (Wu et al. 2016, equation 14). 0 changes nothing."""
    return Partial(_gnmt, alpha)


def average(power: float | jax.Array = 1.0) -> LengthPenalty:
    """log_prob / length^power: at power 1, the mean log-probability of a token."""
    return Partial(_average, power)


def word_reward(reward: float | jax.Array) -> LengthPenalty:
    """log_prob + reward * length (He et al. 2016)."""
    return Partial(_word_reward, reward)


def as_penalty(function: str, value: float | jax.Array | LengthPenalty) -> LengthPenalty:
    """A number is the alpha of `gnmt`; a function of (log_prob, length) is taken as it is."""
    if not callable(value):
        return gnmt(checks.number(function, "length_penalty", value))
    scalars = (jax.ShapeDtypeStruct((), dtype) for dtype in (jnp.float32, jnp.int32))
    shape = getattr(jax.eval_shape(value, *scalars), "shape", None)
    if shape != ():
        raise ValueError(
            f"{function}: length_penalty must give one number for a log-probability and a length, "
            f"got shape {shape}. Use jax.vmap for several"
        )
    return value


def best_possible(
    penalty: LengthPenalty, log_prob: jax.Array, shortest: jax.Array, longest: jax.Array
) -> jax.Array:
    """The highest score of any continuation of a prefix; -inf where no length is possible."""
    best = jnp.maximum(penalty(log_prob, shortest), penalty(log_prob, longest))
    return jnp.where(shortest <= longest, best, -jnp.inf)


def _gnmt(alpha, log_prob, length):
    return log_prob / ((5.0 + length.astype(log_prob.dtype)) / 6.0) ** _as(alpha, log_prob)


def _average(power, log_prob, length):
    return log_prob / length.astype(log_prob.dtype) ** _as(power, log_prob)


def _word_reward(reward, log_prob, length):
    return log_prob + _as(reward, log_prob) * length.astype(log_prob.dtype)


def _as(value, like):
    return jnp.asarray(value).astype(like.dtype)
