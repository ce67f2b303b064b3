"""An example's result depends on that example alone, bit for bit; options recompile nothing."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow

BOS, EOS = 0, 1
STATIC = {"bos": BOS, "eos": EOS, "beam_size": 3}


def float32(models: slow.Model) -> slow.Model:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), models)


@jax.jit
@jax.vmap
def decode(model, limit, alpha):
    step = functools.partial(slow.jax_step, model)
    return rx.beam_search(
        step, model.state, max_length=9, length_limit=limit, length_penalty=alpha, **STATIC
    )


def wide_step(params, memory, state, token):
    """A step of ordinary width over a memory with its mask, so that real matrix products run."""
    keys, mask = memory
    state = jnp.tanh(params["embed"][token] + state @ params["read"])
    scores = jnp.where(mask, keys @ state, -jnp.inf)
    weights = jax.nn.softmax(scores)
    context = weights @ jnp.where(mask[:, None], keys, 0)
    return state, ((state + context) @ params["write"], weights)


def wide_problem(count: int, positions: int, width: int = 48, vocabulary: int = 300):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = {
        "embed": draw(vocabulary, width),
        "read": draw(width, width) / width**0.5,
        "write": draw(width, vocabulary),
    }
    keys = draw(count, positions, width)
    lengths = jnp.asarray(rng.integers(1, positions + 1, count))
    return params, keys, jnp.arange(positions) < lengths[:, None]


@functools.partial(jax.jit, static_argnames="max_length")
def decode_wide(params, keys, mask, max_length=12):
    def one(keys, mask):
        step = functools.partial(wide_step, params, (keys, mask))
        state = jnp.zeros(keys.shape[1])
        options = {"length_limit": 12, "length_penalty": 0.6, "min_length": 2, "n_best": 2}
        return rx.beam_search(step, state, max_length=max_length, **options, **STATIC)

    return jax.vmap(one)(keys, mask)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def rows_of(tree, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def test_batch_mates_change_nothing():
    """Also not mates that never end, that end at once, or that are NaN."""
    models = float32(slow.random_models(20, 64, 6))
    limits = jnp.asarray(np.random.default_rng(0).integers(1, 10, 64))
    alphas = jnp.linspace(-0.6, 1.0, 64)
    together = decode(models, limits, alphas)
    mates = [
        float32(slow.random_models(21, 64, 6)),
        models._replace(writes=models.writes.at[:, EOS].add(-1e3)),
        models._replace(writes=models.writes * jnp.nan),
        jax.tree.map(lambda leaf: leaf * 0, models),
    ]
    half = np.arange(64) % 2 == 0
    for mate in mates:
        mixed = jax.tree.map(
            lambda a, b: jnp.where(half.reshape((-1,) + (1,) * (a.ndim - 1)), a, b), models, mate
        )
        new_limits, new_alphas = jnp.where(half, limits, 9), jnp.where(half, alphas, 3.0)
        same(rows_of(decode(mixed, new_limits, new_alphas), half), rows_of(together, half))


def test_a_permuted_batch_gives_permuted_results():
    params, keys, mask = wide_problem(23, 7)
    order = np.random.default_rng(1).permutation(23)
    together = decode_wide(params, keys, mask)
    same(decode_wide(params, keys[order], mask[order]), rows_of(together, order))


def test_what_the_padding_holds_changes_nothing():
    params, keys, mask = wide_problem(23, 7)
    together = decode_wide(params, keys, mask)
    dirty = jnp.where(mask[:, :, None], keys, jnp.nan)
    same(decode_wide(params, dirty, mask), together)


def test_how_much_padding_and_how_many_mates_change_the_rounding_alone():
    params, keys, mask = wide_problem(23, 7)
    together = decode_wide(params, keys, mask)
    longer = jnp.pad(keys, ((0, 0), (0, 6), (0, 0))), jnp.pad(mask, ((0, 0), (0, 6)))
    padded = decode_wide(params, *longer)
    alone = [decode_wide(params, keys[i : i + 1], mask[i : i + 1]) for i in range(0, 23, 5)]
    alone = jax.tree.map(lambda *leaves: np.concatenate(leaves), *alone)
    for other, index in ((padded, np.arange(23)), (alone, np.arange(0, 23, 5))):
        expected = rows_of(together, index)
        np.testing.assert_array_equal(other.tokens, expected.tokens)
        np.testing.assert_array_equal(other.lengths, expected.lengths)
        np.testing.assert_array_equal(other.steps, expected.steps)
        np.testing.assert_allclose(other.scores, expected.scores, rtol=1e-5)


def test_a_larger_buffer_changes_nothing():
    params, keys, mask = wide_problem(23, 7)
    small, large = decode_wide(params, keys, mask), decode_wide(params, keys, mask, 20)
    cropped = large._replace(
        tokens=large.tokens[:, :, :12],
        token_log_probs=large.token_log_probs[:, :, :12],
        attention=large.attention[:, :, :12],
    )
    same(cropped, small)
    assert (large.tokens[:, :, 12:] == EOS).all()


def test_fewer_rows_are_the_first_rows():
    models = float32(slow.random_models(22, 200, 5))

    def run(n_best, model):
        step = functools.partial(slow.jax_step, model)
        options = {"bos": BOS, "eos": EOS, "beam_size": 5, "max_length": 7, "length_penalty": 1.0}
        return rx.beam_search(step, model.state, n_best=n_best, **options)

    full, one = (jax.jit(jax.vmap(functools.partial(run, n)))(models) for n in (None, 1))
    for field in ("tokens", "lengths", "scores", "log_probs", "token_log_probs", "stops"):
        np.testing.assert_array_equal(getattr(full, field)[:, :1], getattr(one, field))
    assert one.steps.mean() < full.steps.mean()


def test_options_are_traced_and_compile_nothing_new():
    traces = 0
    model = float32(slow.one(slow.random_models(23, 1, 5), 0))

    @jax.jit
    def run(options):
        nonlocal traces
        traces += 1
        step = functools.partial(slow.jax_step, model)
        return rx.beam_search(step, model.state, beam_size=3, max_length=6, **options)

    options = {
        "bos": BOS,
        "eos": EOS,
        "length_penalty": 0.0,
        "min_length": 0,
        "length_limit": 6,
        "patience": 1.0,
    }
    run(options)
    for change in (
        {"length_penalty": -0.6},
        {"min_length": 4},
        {"length_limit": 3},
        {"patience": 0.5},
        {"bos": 3, "eos": 2},
    ):
        run(options | change)
    assert traces == 1
    for penalty in (rx.average(1.0), rx.average(0.5)):
        run(options | {"length_penalty": penalty})
    assert traces == 2


@pytest.mark.parametrize("beam_size", [1, 4])
def test_the_step_is_compiled_once(beam_size):
    model = float32(slow.one(slow.random_models(23, 1, 5), 0))

    step = functools.partial(slow.jax_step, model)
    options = {"bos": BOS, "eos": EOS, "beam_size": beam_size, "max_length": 50}
    program = jax.make_jaxpr(lambda state: rx.beam_search(step, state, **options))(model.state)
    assert str(program).count(" tanh ") == 1
