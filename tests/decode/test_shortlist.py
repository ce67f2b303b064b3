"""A search over a short-list, against enumeration of the listed tokens' distribution."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import changed
from tests.decode import models as slow
from tests.support import x64

BOS, EOS, V, LIMIT = 3, 5, 7, 4
LISTS = np.array([[3, 5, 0, 6], [3, 5, 2, -1], [3, 5, 4, 1]])


def short_step(model, tokens, state, token):
    """Only the listed rows of the output layer are computed with."""
    writes = jnp.asarray(model.writes)[tokens]
    state, (_, seen) = slow.jax_step(model._replace(writes=writes[:1]), state, token)
    return state, (writes @ state, seen)


def test_a_short_list_for_each_example():
    models, traces = slow.random_models(80, 60, V), []
    lists = np.tile(LISTS, (20, 1))

    def one(tokens, model):
        traces.append(1)
        step = rx.shortlisted(functools.partial(short_step, model, tokens), tokens)
        options = {"bos": 0, "eos": 1, "beam_size": 108, "max_length": LIMIT, "n_best": 3}
        found = rx.beam_search(step, jnp.asarray(model.state), length_penalty=0.6, **options)
        return rx.from_shortlist(found, tokens)

    with x64():
        run = jax.jit(jax.vmap(one))
        found = jax.tree.map(np.asarray, run(lists, models))
        run(lists[::-1], models)
    assert len(traces) == 1
    listed = (lists[:, :, None] == np.arange(V)).any(1)

    def change(log_probs, history):
        return changed.normalised(np.where(listed, log_probs, -np.inf))

    table = changed.tree(models, BOS, EOS, LIMIT)
    changed.assert_best(found, changed.enumerated(table, change, EOS, LIMIT, 0.6))
    ended = found.stops[:, :, None] == rx.StopReason.EOS
    assert not (ended & (found.tokens == -1)).any()


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        (
            [0, 1],
            ValueError,
            r"step must return the logits \[2\] of the listed tokens",
        ),
        ([[0, 1, 2]], ValueError, r"shortlisted: tokens must have shape \[n\]"),
        ([0.0, 1.0, 2.0], TypeError, "shortlisted: tokens must be integers"),
    ],
)
def test_errors_teach(tokens, error, message):
    with pytest.raises(error, match=message):
        rx.shortlisted(lambda s, t: (s, jnp.zeros(3)), tokens)(0, jnp.int32(0))
