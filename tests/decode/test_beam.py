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
    size = result.tokens.shape[-1]
    for n in range(result.tokens.shape[1]):
        tokens, length = result.tokens[index, n], result.lengths[index, n]
        if n >= len(expected):
            assert result.stops[index, n] == StopReason.EMPTY
            assert length == 0
            assert result.scores[index, n] == -np.inf
            assert result.log_probs[index, n] == -np.inf
            assert not result.proven[index, n]
        else:
            row = expected[n]
            assert tuple(tokens[:length]) == row.tokens
            np.testing.assert_allclose(result.scores[index, n], row.score, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(
                result.log_probs[index, n], row.log_prob, rtol=1e-12, atol=1e-12
            )
            ended = row.tokens[-1] == EOS
            assert result.stops[index, n] == (StopReason.EOS if ended else StopReason.CUT)
            assert ended or length == limit
        log_probs, states = slow.forced(model, BOS, tokens[:length])
        pad = (0, size - length)
        np.testing.assert_allclose(
            result.token_log_probs[index, n], np.pad(log_probs, pad), rtol=1e-12, atol=1e-12
        )
        np.testing.assert_allclose(
            result.attention[index, n], np.pad(states, (pad, (0, 0))), rtol=1e-12, atol=1e-12
        )
        assert (tokens[length:] == EOS).all()


@pytest.mark.parametrize(
    ("vocabulary", "max_length", "width", "n_best", "count"),
    [
        (2, 6, 2, None, 1000),
        (3, 5, 48, None, 500),
        (3, 5, 48, 1, 1000),
        (3, 5, 48, 4, 1000),
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
