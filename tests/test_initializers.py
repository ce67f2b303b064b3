"""Initialisers: what each block of a gate matrix looks like, and the errors."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax import initializers
from recurrax.initializers import per_gate

KEY = jax.random.key(0)


@pytest.mark.parametrize(("rows", "width"), [(8, 8), (5, 8), (8, 5)])
def test_each_gate_is_orthogonal(rows, width):
    matrix = np.asarray(per_gate(initializers.orthogonal, 4)(KEY, (rows, 4 * width)))
    assert matrix.shape == (rows, 4 * width)
    blocks = np.split(matrix, 4, axis=1)
    for block in blocks:
        gram = block.T @ block if rows >= width else block @ block.T
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1, "gates are drawn apart"


def test_matrices_of_many_seeds_are_drawn_one_after_the_other():
    """A batch of QR decompositions can wait for itself in jaxlib's CPU kernels, for ever."""
    keys = jax.random.split(KEY, (2, 3))

    def draw(key):
        return initializers.orthogonal(key, (6, 4))

    many = jax.vmap(jax.vmap(draw))
    found = many(keys)
    for row, column in ((0, 0), (1, 2)):
        np.testing.assert_allclose(found[row, column], draw(keys[row, column]), atol=1e-6)
    decompositions = re.findall(r"\w+:(\S+) \S+ = qr\[", str(jax.make_jaxpr(many)(keys)))
    assert decompositions == ["f32[6,4]"]


@pytest.mark.parametrize("gates", [1, 3, 4])
def test_glorot_variance_is_that_of_one_gate(gates):
    """Var = 2 / (D + H), not 2 / (D + gates H); within 5 standard errors of the sample's.

    A uniform variable's sample variance over n has the relative standard error sqrt(0.8 / n).
    """
    rows, width = 60, 40
    matrix = np.asarray(per_gate(initializers.glorot_uniform, gates)(KEY, (rows, gates * width)))
    for block in np.split(matrix, gates, axis=1):
        expected = 2 / (rows + width)
        bound = 5 * (0.8 / block.size) ** 0.5
        np.testing.assert_allclose(block.var(), expected, rtol=bound)
        assert np.abs(block).max() <= (6 / (rows + width)) ** 0.5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_half_precision_is_the_rounded_draw(dtype):
    draw = per_gate(initializers.orthogonal, 2)
    matrix = draw(KEY, (4, 8), dtype)
    assert matrix.dtype == dtype
    np.testing.assert_array_equal(matrix, draw(KEY, (4, 8)).astype(dtype))


def test_orthogonal_in_half_precision():
    matrix = initializers.orthogonal(KEY, (4, 3), "bfloat16")
    np.testing.assert_array_equal(matrix, initializers.orthogonal(KEY, (4, 3)).astype("bfloat16"))


@pytest.mark.parametrize("radii", [(0.0, 1.0), (0.9999, 1.0), (0.0, 1e-3)])
def test_the_logarithms_of_the_ring_are_finite(radii):
    """Also where a modulus is rounded to 1: at 0.9999 one in thousands."""
    assert np.isfinite(initializers.ring(*radii)(KEY, (2, 20_000))).all()


def test_forget_biases_keep_dtype_and_shape():
    """What draws another dtype would widen the state of the cell; another shape, its bias."""
    x = jnp.ones(3, "bfloat16")
    for bias in (2, jnp.float32(2), jnp.full(4, 2.0), lambda key, shape, dtype: jnp.full(4, 2.0)):
        params = rx.lstm(4, forget_bias=bias).init(KEY, x)
        assert params.b.dtype == "bfloat16"
        np.testing.assert_array_equal(params.b[4:8], 2)
    for bias in (jnp.ones(3), jnp.ones((1, 4)), lambda key, shape, dtype: jnp.ones(())):
        with pytest.raises(ValueError, match=r"forget_bias: expected shape \(4,\), got \("):
            rx.lstm(4, forget_bias=bias).init(KEY, x)


def test_any_initializer_can_be_handed_in():
    identity = per_gate(lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype), 2)
    np.testing.assert_array_equal(identity(KEY, (3, 6)), np.tile(np.eye(3), 2))


def test_errors_name_the_argument():
    with pytest.raises(TypeError, match="initializer must be a function, got 'orthogonal'"):
        per_gate("orthogonal", 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="gates must be at least 1, got 0"):
        per_gate(initializers.orthogonal, 0)
    with pytest.raises(TypeError, match=r"gates must be an int, got 2\.0"):
        per_gate(initializers.orthogonal, 2.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"initializer must draw shape \(3, 2\), got \(2, 3\)"):
        per_gate(lambda key, shape, dtype: jnp.zeros(shape[::-1], dtype), 2)(KEY, (3, 4))
    with pytest.raises(TypeError, match="ring: r_max must be a number, got '1'"):
        initializers.ring(0.0, "1")  # pyright: ignore[reportArgumentType]
    draw = per_gate(initializers.orthogonal, 4)
    with pytest.raises(ValueError, match=r"shape must divide into 4 gates, got \(2, 6\)"):
        draw(KEY, (2, 6))
    with pytest.raises(ValueError, match=r"shape must divide into 4 gates, got \(\)"):
        draw(KEY, ())
    with pytest.raises(TypeError, match=r"key must be one jax\.random\.key, got None"):
        draw(None, (2, 8))


def test_chrono_biases_are_logarithms_of_uniform_times():
    """exp(b) ~ Uniform(1, T_max - 1); its mean and variance within 5 standard errors."""
    n, longest = 4000, 51
    times = np.exp(np.asarray(initializers.chrono(longest)(KEY, (n,))))
    assert times.min() >= 1 - 1e-5
    assert times.max() <= longest - 1 + 1e-3
    variance = (longest - 2) ** 2 / 12
    np.testing.assert_allclose(times.mean(), longest / 2, atol=5 * (variance / n) ** 0.5)
    np.testing.assert_allclose(times.var(), variance, rtol=5 * (0.8 / n) ** 0.5)
    half = initializers.chrono(longest)(KEY, (8,), "bfloat16")
    assert half.dtype == "bfloat16"
    assert initializers.chrono(np.int64(longest))(KEY, (8,)).shape == (8,)
    for longest, error in [
        (2, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("9", TypeError),
    ]:
        with pytest.raises(error, match="chrono: longest must be"):
            initializers.chrono(longest)  # pyright: ignore[reportArgumentType]
