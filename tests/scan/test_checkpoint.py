"""Checkpointing changes memory, not results."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrax as rx
from recurrax.scan.checkpoint import check_checkpoint, levels
from tests.scan import steps
from tests.scan.agreement import QUICK, total
from tests.support import x64


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 100, 1000, 1023])
@pytest.mark.parametrize("how", [1, 3, 2000, "sqrt", "recursive"])
def test_levels_cover_most_steps(how, length):
    nest = levels(how, length)
    rest = length - math.prod(nest)
    assert 0 <= rest < math.prod(nest)
    assert all(n >= 1 for n in nest)


@pytest.mark.parametrize("how", [0, -1, True, 2.0, "square", "root"])
def test_unknown_argument(how):
    with pytest.raises(ValueError, match="checkpoint: expected"):
        rx.scan(lambda c, x: (c, x), 0.0, jnp.ones(3), checkpoint=how)


def test_an_int_of_numpy_is_a_number_of_steps():
    assert type(check_checkpoint(np.int64(3))) is int


@pytest.mark.parametrize("reverse", [False, True])
@x64()
def test_gradients_agree(reverse):
    step, params, state = steps.make("naive")
    (xs,) = steps.draw((21, steps.D), seed=2)

    def gradient(scan, **extra):
        def loss(params, state, xs):
            return total(scan(lambda s, x: step(params, s, x), state, xs, reverse=reverse, **extra))

        return jax.grad(loss, (0, 1, 2))(params, state, xs)

    def all_of_them():
        kinds = [{"checkpoint": how} for how in (1, 4, "sqrt", "recursive")]
        kinds.append({"checkpoint": 5, "fission": False})
        return gradient(lax.scan), [gradient(rx.scan, **kind) for kind in kinds]

    want, ours = jax.jit(all_of_them, compiler_options=QUICK)()
    for got in ours:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), got, want)


def test_memory_grows_as_the_square_root():
    h = 64

    def temporary(length, how):
        def loss(u, w, xs):
            return rx.scan(
                lambda s, x: (jnp.tanh(x @ u + s @ w), None), jnp.zeros(h), xs, checkpoint=how
            )[0].sum()

        structs = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, h), (h, h), (length, 1))]
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*structs).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    small, large = temporary(1024, "sqrt"), temporary(16384, "sqrt")
    assert large < 6 * small
    assert large < temporary(16384, None) / 10
