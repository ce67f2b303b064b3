"""What an exact search has not kept: it is read again, or it counts in the bound."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import recurrax.decode as rx
from tests.decode import models as slow
from tests.decode.test_beam import BOS, EOS, random_options
from tests.decode.test_certificate import claims_are_true, truths
from tests.support import x64


def test_a_prefix_that_others_have_overwritten():
    """2 3 is left behind for 3, whose extensions take its place and are worse than it."""
    table = np.full((3, 5, 5), 1e-30)
    table[0, BOS, 2:] = 0.65, 0.3, 0.05
    table[1, 2, [EOS, 2, 3]] = 0.1 / 0.65, 0.33 / 0.65, 0.22 / 0.65
    table[1, 3:] = 0.2
    table[2, 2, EOS], table[2, 3, EOS] = 0.26 / 0.33, 0.21 / 0.22
    table[2] += (1 - table[2].sum(1, keepdims=True)) / 5  # no more than 0.07 of any sequence
    options = {"bos": BOS, "eos": EOS, "max_length": 3, "width": 1}
    result = jax.jit(lambda: rx.exact_search(slow.table_step(table), 0, **options))()
    assert result.tokens[0].tolist() == [2, 2, EOS]
    assert result.proven[0]
    np.testing.assert_allclose(np.exp(result.bound), 0.22, rtol=1e-5)


def test_equal_extensions_that_a_level_has_no_room_for():
    """Eight words, all as likely, of which a level keeps four; each row stands once."""
    options = {"bos": BOS, "eos": EOS, "max_length": 2, "width": 1, "n_best": 9}
    search = functools.partial(rx.exact_search, lambda s, t: (s, jnp.zeros(9)), 0)
    result = jax.jit(lambda: search(**options))()
    found = [t[:n].tolist() for t, n in zip(result.tokens, result.lengths, strict=True)]
    assert found == [[EOS], *([word, EOS] for word in range(9) if word != EOS)]
    assert result.proven.all()


@x64()
def test_a_frontier_smaller_than_the_vocabulary():
    count, size = 60, 3
    models = slow.random_models(81, count, 9, sharpness=1.0)
    options = random_options(82, count, size)

    def one(model, options):
        step = functools.partial(slow.jax_step, model)
        shared = {"bos": BOS, "eos": EOS, "max_length": size} | options._asdict()
        return rx.best_first_search(
            step, model.state, n_best=2, budget=12, frontier=3, width=2, **shared
        )

    result = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models, options))
    assert claims_are_true(result, truths(models, options)) > 5
    assert not np.asarray(result.settled).all()
