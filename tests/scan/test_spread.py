"""What is done for all steps keeps the batch behind T, and has the derivatives that it must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.scan import spread
from tests.scan import steps
from tests.support import x64

T, B, D, H = 6, 5, 7, 3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_is_copied_to_bring_the_batch_to_the_front(axis):
    step, params, state = steps.make("layer_norm_lstm", D, H)
    (xs,) = steps.draw((B, T, D), seed=2)

    def loss(params, xs):
        def one(x):
            return rx.scan(lambda s, x: step(params, s, x), state, x)[1]

        return jnp.sum(jax.vmap(one, axis)(xs) ** 2)

    xs = jnp.moveaxis(xs, 0, axis)
    for function in (loss, jax.grad(loss)):
        text = jax.jit(function).lower(params, xs).compile().as_text() or ""
        assert f"f32[{T},{B},{4 * H}]" in text
        assert f"f32[{B},{T},{4 * H}]" not in text


# The operation and what it is, of a [4, 3] and a vector w [3].
PAIRS = {
    "scaled": (lambda a, w: spread.scaled_p.bind(a, w), lambda a, w: a * w),
    "shifted": (lambda a, w: spread.shifted_p.bind(a, w), lambda a, w: a + w),
    "widened": (lambda a, w: spread.widened(a, (2, 3)) * w[0], lambda a, w: wide(a) * w[0]),
}


def wide(a):
    return jnp.broadcast_to(a[..., None, None], (*a.shape, 2, 3))


@pytest.mark.parametrize("name", list(PAIRS))
@pytest.mark.parametrize("axes", [(0, None), (1, None), (2, None), (None, 1), (0, 0), (2, 1)])
@x64()
def test_the_same_as_plain_operations_in_every_derivative_of_a_batch(name, axes):
    a, w, da, dw = (
        np.random.default_rng(0).normal(size=shape) for shape in ((4, 3), (3,), (4, 3), (3,))
    )
    batch = [
        v if axis is None else np.stack([v, 2 * v, v - 1, v + 3, -v], axis)
        for v, axis in zip((a, w), axes, strict=True)
    ]

    def everything(function):
        def loss(a, w):
            return jnp.sum(jnp.sin(function(jnp.sin(a), jnp.cos(w))))

        both = jax.grad(loss, (0, 1))

        def one(a, w):
            return (
                function(a, w),
                both(a, w),
                jax.jvp(both, (a, w), (da, dw)),
                jax.hessian(loss, (0, 1))(a, w),
            )

        together = jax.grad(lambda a, w: jax.vmap(loss, axes)(a, w).sum(), (0, 1))(*batch)
        return jax.jit(jax.vmap(one, axes))(*batch), together, one(a, w)

    ours, theirs = (everything(function) for function in PAIRS[name])
    for got, want in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)
