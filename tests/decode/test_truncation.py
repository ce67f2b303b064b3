"""What the truncating processors leave, where `test_processors` and enumeration do not look."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx


def test_a_mass_of_one_forbids_nothing():
    """The sum of the likeliest 13,000 or so of these is 1 in float32 already."""
    logits = jnp.asarray(6 * np.random.default_rng(0).normal(size=30000), jnp.float32)
    for keep in (rx.keep_top_p, rx.keep_typical):
        kept = keep(1.0).apply((), jnp.int32(0), rx.log_probs(logits))[1]
        assert np.isfinite(kept).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rx.keep_top_k(0), ValueError, "keep_top_k: count must be at least 1, got 0"),
        (lambda: rx.keep_top_k(jnp.float32(2)), TypeError, "keep_top_k: count must be an integer"),
        (lambda: rx.keep_top_p(-0.1), ValueError, "keep_top_p: mass must be above 0"),
        (lambda: rx.keep_typical(0), ValueError, "keep_typical: mass must be above 0"),
        (lambda: rx.keep_min_p(jnp.ones(2)), ValueError, "keep_min_p: share must be one number"),
        (lambda: rx.keep_top_p(90), ValueError, "keep_top_p: mass must be at most 1, got 90"),
        (lambda: rx.keep_min_p(2.0), ValueError, "keep_min_p: share must be at most 1"),
    ],
)
def test_errors_teach(make, error, message):
    with pytest.raises(error, match=message):
        make()
