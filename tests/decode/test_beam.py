"""Beam search against slow truth: enumeration where the beam is wide, plain Python where it is not.

Every option is traced, so one compilation serves thousands of models, each with options of its own.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest

from recurrax.decode import StopReason, beam_search
from tests.decode import models as slow
from tests.support import x64

BOS, EOS = 0, 1
ALPHAS = (-0.6, 0.0, 0.6, 1.0)


class Options(NamedTuple):
    """One value for each model."""

    length_penalty: np.ndarray
    min_length: np.ndarray
    length_limit: np.ndarray


def random_options(seed: int, count: int, max_length: int) -> Options:
    rng = np.random.default_rng(seed)
    return Options(
        rng.choice(ALPHAS, count),
        rng.integers(0, max_length + 1, count),
        rng.integers(1, max_length + 1, count),
    )


def search(models: slow.Model, options: Options, **static):
    def one(model, options):
        step = functools.partial(slow.jax_step, model)
        return beam_search(step, model.state, bos=BOS, eos=EOS, **options._asdict(), **static)

    with x64():
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models, options))


def check_rows(result, index: int, expected: list[slow.Row], model: slow.Model, limit: int):
    """The rows of example `index` are `expected`, in order, with all that goes with them."""
    row = jax.tree.map(lambda leaf: leaf[index], result)
    found = [tuple(t[:n].tolist()) for t, n in zip(row.tokens, row.lengths, strict=True)]
    empty = len(found) - len(expected)
    assert found == [tuple(map(int, e.tokens)) for e in expected] + [()] * empty
    wanted = np.array([e[1:] for e in expected] + [(-np.inf, -np.inf)] * empty)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    close(row.log_probs, wanted[:, 0])
    close(row.scores, wanted[:, 1])
    stops = [StopReason.EOS if e.tokens[-1] == EOS else StopReason.CUT for e in expected]
    assert row.stops.tolist() == stops + [StopReason.EMPTY] * empty
    assert (row.lengths[row.stops == StopReason.CUT] == limit).all()
    assert not row.proven[row.stops != StopReason.EOS].any()
    log_probs, states = slow.forced(model, BOS, row.tokens, row.lengths)
    close(row.token_log_probs, log_probs)
    close(row.attention, states)
    past = np.arange(row.tokens.shape[1]) >= row.lengths[:, None]
    assert (row.tokens[past] == EOS).all()


@pytest.mark.parametrize(
    ("vocabulary", "max_length", "width", "n_best", "count"),
    [
        (2, 6, 2, None, 1000),
        (3, 5, 48, None, 500),
        (3, 5, 48, 1, 1000),
        (3, 6, 96, 4, 1000),
        (4, 4, 108, 10, 500),
        (4, 6, 972, 5, 12),
    ],
)
def test_a_wide_beam_is_brute_force(vocabulary, max_length, width, n_best, count):
    models = slow.random_models(1, count, vocabulary)
    options = random_options(2, count, max_length)
    result = search(models, options, beam_size=width, max_length=max_length, n_best=n_best)
    for i in range(count):
        model, limit = slow.one(models, i), int(options.length_limit[i])
        finished, cut = slow.enumerate_all(
            model, BOS, EOS, limit, options.min_length[i], options.length_penalty[i]
        )
        expected = (finished + cut)[: result.tokens.shape[1]]
        check_rows(result, i, expected, model, limit)
        ended = result.stops[i] == StopReason.EOS
        assert (result.proven[i] == ended).all()  # nothing was pruned


@pytest.mark.parametrize(
    ("vocabulary", "max_length", "width", "n_best", "count"),
    [
        (4, 6, 1, 1, 300),
        (4, 6, 2, None, 300),
        (4, 6, 3, 1, 300),
        (3, 6, 5, 3, 300),
        (9, 6, 4, None, 300),
    ],
)
def test_a_narrow_beam_is_the_documented_search(vocabulary, max_length, width, n_best, count):
    models = slow.random_models(3, count, vocabulary)
    options = random_options(4, count, max_length)
    result = search(models, options, beam_size=width, max_length=max_length, n_best=n_best)
    for i in range(count):
        model, limit = slow.one(models, i), int(options.length_limit[i])
        rows = slow.plain_beam(
            model,
            BOS,
            EOS,
            width,
            limit,
            options.min_length[i],
            options.length_penalty[i],
            result.tokens.shape[1],
        )
        check_rows(result, i, rows, model, limit)


@pytest.mark.parametrize(
    ("vocabulary", "max_length", "width", "n_best"), [(3, 5, 1, 1), (3, 5, 2, 2), (4, 4, 3, 1)]
)
def test_the_certificate_is_true(vocabulary, max_length, width, n_best):
    count = 1000
    models = slow.random_models(5, count, vocabulary, sharpness=4.0)
    options = random_options(6, count, max_length)
    result = search(models, options, beam_size=width, max_length=max_length, n_best=n_best)
    missed = 0
    for i in range(count):
        finished, _ = slow.enumerate_all(
            slow.one(models, i),
            BOS,
            EOS,
            int(options.length_limit[i]),
            options.min_length[i],
            options.length_penalty[i],
        )
        rows = [tuple(t[:n]) for t, n in zip(result.tokens[i], result.lengths[i], strict=True)]
        outside = [row.score for row in finished if row.tokens not in rows]
        assert max(outside, default=-np.inf) <= result.bound[i] + 1e-12
        for n in range(n_best):
            best_found = n < len(finished) and rows[n] == finished[n].tokens
            assert best_found or not result.proven[i, n]
            missed += not best_found and n < len(finished)
    # Neither vacuous nor hopeless: searches fail here, and most of what is found is proven.
    assert missed > 20
    assert result.proven[:, 0].mean() > 0.2
