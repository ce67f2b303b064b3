"""The choice of `checkpoint` for a budget, against what XLA says of the same step compiled here."""

import functools

import jax
import jax.numpy as jnp
import pytest

import recurrax as rx

CANDIDATES = (None, 128, "sqrt", "recursive")


def training_step(checkpoint, params, xs):
    cell = rx.elman(16)

    def loss(params):
        def last(xs):
            return rx.unroll(cell, params, xs, checkpoint=checkpoint)[0]

        return jnp.mean(jax.vmap(last)(xs) ** 2)

    return jax.tree.map(lambda w, g: w - 0.1 * g, params, jax.grad(loss)(params))


@pytest.fixture(scope="module")
def arguments():
    params = jax.eval_shape(rx.elman(16).init, jax.random.key(0), jnp.ones(4))
    return params, jax.ShapeDtypeStruct((3, 1024, 4), jnp.float32)


@pytest.fixture(scope="module")
def truth(arguments):
    def measured(checkpoint):
        step = jax.jit(functools.partial(training_step, checkpoint))
        return step.lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    return {checkpoint: measured(checkpoint) for checkpoint in CANDIDATES}


@pytest.mark.slow
def test_the_cheapest_that_fits_is_chosen(arguments, truth):
    one_pass = min((128, "sqrt"), key=truth.__getitem__)
    expected = {truth[None]: None, truth[None] - 1: one_pass}
    if truth["recursive"] < truth[one_pass]:
        expected[truth[one_pass] - 1] = "recursive"
    for budget, checkpoint in expected.items():
        plan = rx.checkpoint_for(budget, training_step, *arguments, candidates=CANDIDATES)
        assert plan.checkpoint == checkpoint
        assert dict(plan.trades) == truth
    assert truth["sqrt"] < truth[None] / 5  # or the helper would be of no use


def test_the_table_shows_the_trade(arguments, truth):
    text = str(rx.checkpoint_for(truth["sqrt"], training_step, *arguments))
    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == [
        "checkpoint", "None", "'sqrt'", "'recursive'", "budget"
    ]  # fmt: skip
    assert "too large" in lines[1]
    assert "chosen" in lines[2]
    assert f"{truth['sqrt'] / 2**20:.2f}" in lines[2]


def test_errors_teach(arguments):
    with pytest.raises(ValueError, match=r"fit into 100 bytes(.|\n)*'sqrt'"):
        rx.checkpoint_for(100, training_step, *arguments, candidates=("sqrt",))
    with pytest.raises(ValueError, match="budget must be a number > 0"):
        rx.checkpoint_for(0, training_step, *arguments)
    with pytest.raises(ValueError, match="candidates must not be empty"):
        rx.checkpoint_for(100, training_step, *arguments, candidates=())
    with pytest.raises(ValueError, match="checkpoint: expected None"):
        rx.checkpoint_for(100, training_step, *arguments, candidates=("square",))
