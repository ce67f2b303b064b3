"""Exact search against enumeration of every sequence, with and without a beam to start from."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow
from tests.decode.test_beam import BOS, EOS, check_rows, random_options
from tests.support import x64


def decode(models, options, search=rx.exact_search, *, sizes, beam_size=0, **static):
    """The exact results of a batch, after those of a beam if there is one."""

    def one(model, options):
        step = functools.partial(slow.jax_step, model)
        shared = {"bos": BOS, "eos": EOS, "max_length": sizes} | options._asdict()
        found = None
        if beam_size:
            found = rx.beam_search(step, model.state, beam_size=beam_size, **shared)
        limits = {"budget": 10**6} | static
        return search(step, model.state, incumbent=found, **shared, **limits), found

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models, options))


def truth(models, options, i):
    """The finished sequences of example `i`, best first."""
    option = jax.tree.map(lambda leaf: leaf[i], options)
    model, limit = slow.one(models, i), int(option.length_limit)
    rows, _ = slow.enumerate_all(model, BOS, EOS, limit, option.min_length, option.length_penalty)
    return model, limit, rows


CASES = [  # vocabulary, max_length, width, n_best, beam_size, count
    (2, 6, 1, 3, 0, 1000),
    (3, 6, 1, 1, 0, 500),
    (4, 5, 3, 6, 2, 300),
    (9, 4, 1, 4, 0, 30),  # here a level cannot keep all its extensions
]


@pytest.mark.parametrize(("vocabulary", "size", "width", "n_best", "beam", "count"), CASES)
@x64()
def test_it_is_enumeration(vocabulary, size, width, n_best, beam, count):
    models = slow.random_models(40, count, vocabulary, sharpness=3.0)
    options = random_options(41, count, size)
    result, found = decode(models, options, sizes=size, beam_size=beam, width=width, n_best=n_best)
    for i in range(count):
        model, limit, rows = truth(models, options, i)
        expected = rows[:n_best]
        if len(rows) < n_best and beam:  # what the beam had cut fills the rows that are left
            kept = jax.tree.map(lambda leaf, i=i: leaf[i], found)
            for n in np.flatnonzero(kept.stops == rx.StopReason.CUT)[: n_best - len(rows)]:
                tokens = tuple(kept.tokens[n, : kept.lengths[n]])
                expected = [*expected, slow.Row(tokens, kept.log_probs[n], kept.scores[n])]
        check_rows(result, i, expected, model, limit)
    ended = result.stops == rx.StopReason.EOS
    np.testing.assert_array_equal(result.proven, ended)
    assert (result.gap[ended] == 0).all()
    if beam:
        assert (result.steps[found.settled] == 0).all() or n_best > beam
        assert (result.steps > 0).any()


@pytest.mark.parametrize(
    ("vocabulary", "size", "width", "n_best", "beam", "count"),
    [(3, 6, 1, 1, 0, 500), (4, 5, 3, 6, 2, 200)],
)
@x64()
def test_best_first_is_enumeration(vocabulary, size, width, n_best, beam, count):
    models = slow.random_models(42, count, vocabulary, sharpness=3.0)
    options = random_options(43, count, size)
    static = {"width": width, "n_best": n_best, "sizes": size, "beam_size": beam}
    result, _ = decode(models, options, rx.best_first_search, budget=800, frontier=600, **static)
    for i in range(count):
        model, limit, rows = truth(models, options, i)
        one = jax.tree.map(lambda leaf, i=i: leaf[i], result)
        finished = (one.stops == rx.StopReason.EOS).sum()
        assert finished == min(n_best, len(rows))
        assert one.proven[:finished].all()
        for n, row in enumerate(rows[:n_best]):
            assert tuple(one.tokens[n, : one.lengths[n]].tolist()) == row.tokens
            np.testing.assert_allclose(one.scores[n], row.score, rtol=1e-12)
        if not beam:
            check_rows(result, i, rows[:n_best], model, limit)


@x64()
def test_best_first_reads_the_fewest():
    """Prefixes whose bound is above the best score: no exact search can leave one of them out."""
    count, size = 50, 5
    models = slow.random_models(44, count, 4, sharpness=2.0)
    options = random_options(45, count, size)
    first, _ = decode(models, options, rx.best_first_search, sizes=size, budget=800)
    depth, _ = decode(models, options, sizes=size, width=1)
    helped, _ = decode(models, options, sizes=size, width=1, beam_size=4)
    for i in range(count):
        model, _, rows = truth(models, options, i)
        option = jax.tree.map(lambda leaf, i=i: leaf[i], options)
        best = rows[0].score if rows else -np.inf
        needed = open_prefixes(model, option, best)
        assert first.steps[i] == needed
        assert depth.steps[i] >= needed
        assert helped.settled[i]
        assert helped.steps[i] <= depth.steps[i]
    assert (depth.steps > first.steps).any()
    assert (helped.steps < depth.steps).mean() > 0.3


def open_prefixes(model, option, best):
    """How many prefixes could, by the documented bound, be continued to beat `best`."""
    limit, alpha = int(option.length_limit), option.length_penalty
    live, count = [(0.0, model.state, BOS)], 0
    for t in range(limit):
        shortest = max(t + 1, int(option.min_length))
        if shortest > limit:
            break
        bounds = [
            max(slow.gnmt_score(total, n, alpha) for n in (shortest, limit)) for total, *_ in live
        ]
        live = [node for node, bound in zip(live, bounds, strict=True) if bound > best]
        count += len(live)
        extended = []
        for total, state, token in live:
            state, log_probs = slow.read_one(model, state, token)
            extended += [
                (total + p, state, word) for word, p in enumerate(log_probs) if word != EOS
            ]
        live = extended
    return count


@pytest.mark.parametrize("search", [rx.exact_search, rx.best_first_search])
def test_penalties_that_are_functions(search):
    """The mean and the word reward, of either sign, as arguments that compile nothing new."""
    count, size, traces = 60, 5, 0
    models = slow.random_models(46, count, 3)

    def one(model, penalty):
        nonlocal traces
        traces += 1
        step = functools.partial(slow.jax_step, model)
        return search(
            step, model.state, bos=BOS, eos=EOS, max_length=size, length_penalty=penalty, budget=400
        )

    run = jax.jit(jax.vmap(one, (0, None)))
    cases = [
        (rx.average, (1.0, 0.5, -0.5), lambda total, length, power: total / length**power),
        (rx.word_reward, (0.4, -0.3), lambda total, length, reward: total + reward * length),
    ]
    for kind, strengths, plain in cases:
        for strength in strengths:
            with x64():
                result = jax.tree.map(np.asarray, run(models, kind(jnp.float64(strength))))
            assert result.proven.all()
            for i in range(0, count, 3):
                rows, _ = slow.enumerate_all(slow.one(models, i), BOS, EOS, size, 0, 0.0)
                best = max((plain(r.log_prob, len(r.tokens), strength), r.tokens) for r in rows)
                found = tuple(result.tokens[i, 0, : result.lengths[i, 0]].tolist())
                assert found == best[1]
                np.testing.assert_allclose(result.scores[i, 0], best[0], rtol=1e-12)
    assert traces == 2  # one for each function


@pytest.mark.parametrize("search", [rx.exact_search, rx.best_first_search])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_odd_models(search, bad):
    """Word 2 leads to NaN, to +inf, or to a dead end; the state holds random keys and None."""
    rows = jnp.asarray([[0, 0, 1.5], [0, 0, 0], [0, 1, bad]]).at[2].set(bad)

    def step(state, token):
        key, nothing, count = state
        return (jax.random.fold_in(key, token), nothing, count + 1), rows[token]

    run = functools.partial(search, step, bos=0, eos=1, max_length=3, n_best=4, budget=50)
    result = jax.jit(lambda key: run((key, None, 0)))(jax.random.key(0))
    found = [t[:n].tolist() for t, n in zip(result.tokens, result.lengths, strict=True)]
    assert found == [[1], [0, 1], [0, 0, 1], []]
    valid = bad == -np.inf
    assert bool(result.invalid) != valid
    assert result.proven.tolist() == [valid, valid, valid, False]
    assert bool(result.settled) == valid
    assert (result.bound == np.inf) != valid


def test_lower_precision_and_a_wide_vocabulary():
    """Bfloat16 logits, 100 words, 6 read together, against all 9901 sequences."""
    rng = np.random.default_rng(47)
    logits = jnp.asarray(3 * rng.normal(size=(100, 100)), jnp.bfloat16)

    def step(state, token):
        return state + token, jnp.roll(logits[token], state)

    run = functools.partial(rx.exact_search, bos=0, eos=1, max_length=3, n_best=5, width=6)
    result = jax.jit(lambda: run(step, 0, length_penalty=0.6))()
    assert result.proven.all()
    assert result.scores.dtype == jnp.float32

    table = np.asarray(logits, np.float64)
    table -= np.log(np.exp(table).sum(1, keepdims=True))
    words = [word for word in range(100) if word != 1]
    truth: list = [((1,), table[0, 1])]
    for a in words:
        truth.append(((a, 1), table[0, a] + table[a, 1]))
        for b in words:
            total = table[0, a] + table[a, b] + np.roll(table[b], a)[1]
            truth.append(((a, b, 1), total))
    scored = [(slow.gnmt_score(total, len(row), 0.6), row) for row, total in truth]
    for n, (score, row) in enumerate(sorted(scored, reverse=True)[:5]):
        assert tuple(result.tokens[n, : result.lengths[n]].tolist()) == row
        np.testing.assert_allclose(result.scores[n], score, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_best": 0}, ValueError, "n_best must be at least 1, got 0"),
        ({"width": 0}, ValueError, "width must be at least 1, got 0"),
        ({"budget": -1}, ValueError, "budget must be at least"),
        ({"eos": 3}, ValueError, r"eos must be in \[0, 2\], got 3"),
        ({"incumbent": 3}, TypeError, "incumbent must be a BeamResult, got 3"),
        ({"incumbent": 7}, ValueError, r"incumbent must hold tokens .*max_length=5.*\(2, 7\)"),
        ({"incumbent": "seen"}, ValueError, "incumbent must hold the attention of this step"),
    ],
)
@pytest.mark.parametrize("search", [rx.exact_search, rx.best_first_search])
def test_errors_teach(search, options, error, message):
    def step(state, token):
        return state, jnp.zeros(3)

    if options.get("incumbent") in (7, "seen"):
        size = 7 if options["incumbent"] == 7 else 5

        def other(state, token):
            return state, (jnp.zeros(3), None if size == 7 else state)

        beam = functools.partial(rx.beam_search, bos=0, eos=1, beam_size=2, max_length=size)
        shapes = jax.eval_shape(lambda: beam(other, 0))
        found = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        options = {"incumbent": found}
    arguments = {"bos": 0, "eos": 1, "max_length": 5, "budget": 9} | options
    with pytest.raises(error, match=f"{search.__name__}: {message}"):
        search(step, 0, **arguments)
