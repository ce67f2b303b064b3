"""Diverse beam search against plain beam search and against a plain loop over groups."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow
from tests.decode.test_beam import BOS, EOS, random_options
from tests.support import x64


@functools.partial(jax.jit, static_argnames=("groups", "beam_size", "max_length", "n_best"))
def diverse(models, options, strengths, **static):
    def one(model, options, strength):
        step = functools.partial(slow.jax_step, model)
        return rx.diverse_beam_search(
            step, model.state, bos=BOS, eos=EOS, diversity=strength, **options._asdict(), **static
        )

    return jax.vmap(one)(models, options, strengths)


@functools.partial(jax.jit, static_argnames=("beam_size", "max_length", "n_best"))
def plain(models, options, **static):
    def one(model, options):
        step = functools.partial(slow.jax_step, model)
        return rx.beam_search(step, model.state, bos=BOS, eos=EOS, **options._asdict(), **static)

    return jax.vmap(one)(models, options)


def settled(finished, live, t, options, n_best):
    """Whether no live hypothesis can enter the rows, told from the documented bound."""
    alpha, least, limit = options.length_penalty, int(options.min_length), options.length_limit
    shortest = max(t + 1, least)
    best = -np.inf
    if live and shortest <= limit:
        top = max(total for _, total, _, _ in live)
        best = max(slow.gnmt_score(top, length, alpha) for length in (shortest, limit))
    scores = sorted((row.score for row in finished), reverse=True)
    return len(scores) >= n_best and scores[n_best - 1] >= best


def plain_groups(model, groups, width, options, strength, n_best):
    """Each group in turn; `used[t]` lists the tokens that earlier groups took at time t."""
    limit = int(options.length_limit)
    used, results = [[] for _ in range(limit)], []
    for _ in range(groups):
        finished, live = [], [((), 0.0, 0.0, model.state)]
        taken = [[] for _ in range(limit)]
        for t in range(limit):
            if not live or settled(finished, live, t, options, n_best):
                break
            candidates = []
            for tokens, total, cost, state in live:
                state, log_probs = slow.read_one(model, state, tokens[-1] if tokens else BOS)
                for token, log_prob in enumerate(log_probs):
                    if token == EOS and t + 1 < options.min_length:
                        continue
                    again = 0 if token == EOS else used[t].count(token)
                    more = cost + strength * again if again else cost
                    if more < np.inf:
                        candidates.append(((*tokens, token), total + log_prob, more, state))
            candidates.sort(key=lambda c: c[2] - c[1])
            ended = [c for c in candidates[:width] if c[0][-1] == EOS]
            for tokens, total, _, _ in ended:
                score = slow.gnmt_score(total, t + 1, options.length_penalty)
                finished.append(slow.Row(tokens, total, score))
            live = [c for c in candidates if c[0][-1] != EOS][:width]
            if width == 1 and ended:
                live = []
            taken[t] = [c[0][-1] for c in live]
            was_cut = t + 1 == limit
        cut = []
        if was_cut:
            totals = [(c[0], c[1]) for c in live]
            alpha = options.length_penalty
            cut = [slow.Row(s, total, slow.gnmt_score(total, limit, alpha)) for s, total in totals]
        by_score = functools.partial(sorted, key=lambda row: -row.score)
        results.append((by_score(finished) + by_score(cut))[:n_best])
        used = [before + new for before, new in zip(used, taken, strict=True)]
    return results


@pytest.mark.parametrize(
    ("vocabulary", "size", "groups", "width", "n_best"),
    [(4, 6, 3, 2, 2), (9, 5, 4, 1, 1), (6, 5, 2, 4, 2)],
)
def test_groups_are_the_documented_loop(vocabulary, size, groups, width, n_best):
    count = 150
    models = slow.random_models(50, count, vocabulary)
    options = random_options(51, count, size)
    strengths = np.random.default_rng(52).choice([0.0, 0.3, 1.0, 5.0, np.inf], count)
    with x64():
        static = {"groups": groups, "beam_size": width, "max_length": size, "n_best": n_best}
        result = jax.tree.map(np.asarray, diverse(models, options, strengths, **static))
    assert result.tokens.shape == (count, groups, n_best, size)
    for i in range(count):
        option = jax.tree.map(lambda leaf, i=i: leaf[i], options)
        model = slow.one(models, i)
        expected = plain_groups(model, groups, width, option, strengths[i], n_best)
        truth, _ = slow.enumerate_all(
            model, BOS, EOS, int(option.length_limit), option.min_length, option.length_penalty
        )
        for g, rows in enumerate(expected):
            one = jax.tree.map(lambda leaf, i=i, g=g: leaf[i, g], result)
            found = [tuple(t[:n].tolist()) for t, n in zip(one.tokens, one.lengths, strict=True)]
            assert found == [row.tokens for row in rows] + [()] * (n_best - len(rows))
            scores = [row.score for row in rows]
            np.testing.assert_allclose(one.scores[: len(rows)], scores, rtol=1e-12)
            outside = [row.score for row in truth if row.tokens not in found]
            assert max(outside, default=-np.inf) <= one.bound + 1e-12
    assert 0 < result.proven[:, 1:].mean() < 1  # the bounds are neither empty nor vacuous


def test_one_group_and_no_diversity_are_beam_search():
    count, static = 200, {"beam_size": 3, "max_length": 6, "n_best": 2}
    models = slow.random_models(53, count, 5)
    options = random_options(54, count, 6)
    with x64():
        beam = plain(models, options, **static)
        alone = diverse(models, options, np.full(count, 2.0), groups=1, **static)
        alike = diverse(models, options, np.zeros(count), groups=3, **static)
    for g, groups in ((0, alone), (0, alike), (1, alike), (2, alike)):
        group = jax.tree.map(lambda leaf, g=g: leaf[:, g], groups)
        np.testing.assert_array_equal(group.tokens, beam.tokens)
        np.testing.assert_array_equal(group.steps, beam.steps)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), group, beam)


def test_fewer_groups_are_the_first_of_more_and_diversity_differs():
    count, static = 100, {"beam_size": 2, "max_length": 6, "n_best": 1}
    models = slow.random_models(55, count, 6)
    options = random_options(56, count, 6)
    strengths = np.full(count, 3.0)
    with x64():
        few = diverse(models, options, strengths, groups=2, **static)
        many = diverse(models, options, strengths, groups=4, **static)
    np.testing.assert_array_equal(many.tokens[:, :2], few.tokens)
    first = (np.asarray(many.tokens[:, 1:, 0]) != np.asarray(many.tokens[:, :1, 0])).any(-1)
    assert first.mean() > 0.6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diversity": -1.0}, "diversity must be at least 0, got -1.0"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"n_best": 3}, "n_best must be at most beam_size=2, got 3"),
    ],
)
def test_errors_teach(options, message):
    arguments = {"groups": 2, "beam_size": 2, "diversity": 1.0, "max_length": 4} | options
    with pytest.raises(ValueError, match=f"diverse_beam_search: {message}"):
        rx.diverse_beam_search(lambda s, t: (s, jnp.zeros(3)), 0, bos=0, eos=1, **arguments)
