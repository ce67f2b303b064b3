"""The blockwise top-k is `lax.top_k`, ties and infinities included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from recurrax.decode.largest import largest


@pytest.mark.parametrize(("vocabulary", "count"), [(3, 3), (100, 3), (1000, 7), (1003, 7)])
def test_it_is_top_k(vocabulary, count):
    rng = np.random.default_rng(0)
    ties = rng.integers(0, 4, (50, 5, vocabulary)).astype(np.float32)
    smooth = rng.normal(size=(50, 5, vocabulary)).astype(np.float32)
    logits = jnp.asarray(np.concatenate([ties, smooth, np.where(ties > 0, -np.inf, smooth)]))
    values, indices, top = jax.jit(jax.vmap(lambda x: largest(x, count)))(logits)
    expected_values, expected = lax.top_k(logits, count)
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(top, logits.max(-1))


def test_nan_is_seen():
    logits = jnp.zeros((2, 1000)).at[1, 77].set(jnp.nan)
    assert np.isnan(largest(logits, 3)[2]).tolist() == [False, True]
