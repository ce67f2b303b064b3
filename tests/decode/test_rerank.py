"""Another ranking after the search: coverage, the model's own scores under constraints, any."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import changed
from tests.decode import models as slow
from tests.support import x64

BOS, EOS, V, LIMIT, SOURCE = 0, 1, 4, 4, 3


def attending(model, state, token):
    """The attention looks at four positions, of which the last is padding."""
    state, (logits, seen) = slow.jax_step(model, state, token)
    return state, (logits, jax.nn.softmax(2 * seen))


def covering(weights):
    wu = rx.wu_coverage(weights, 0.3, SOURCE)
    return wu, rx.excess_coverage(weights, 0.7, SOURCE)


def slow_penalties(models):
    """`{sequence: (Wu's penalty [M], the excess [M])}`, from the attention over all its tokens."""
    coverage, penalties = {}, {}
    for history, state in changed.states(models, BOS, EOS, LIMIT).items():
        weights = np.exp(2 * state) / np.exp(2 * state).sum(1, keepdims=True)
        coverage[history] = coverage.get(history[:-1], 0) * (history != ()) + weights
        seen = coverage[history][:, :SOURCE]
        excess = np.where(seen > 1, seen - 1, 0).sum(1)
        penalties[*history, EOS] = 0.3 * np.log(np.minimum(seen, 1)).sum(1), -0.7 * excess
    return penalties


@functools.cache
def searched(search, rows, count=200, **how):
    models = slow.random_models(70, count, V, sharpness=3.0)

    def one(model):
        step = functools.partial(attending, model)
        found = search(
            step,
            jnp.asarray(model.state),
            bos=BOS,
            eos=EOS,
            n_best=rows,
            max_length=LIMIT,
            length_penalty=0.6,
            **how,
        )
        wu, excess = jax.vmap(covering)(found.attention)
        totals = {"wu": found.scores + wu, "both": found.scores + wu + excess}
        return {
            name: rx.reranked(found, total, bound=found.bound) for name, total in totals.items()
        }

    with x64():
        return models, jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models))


def truths(models):
    table = changed.tree(models, BOS, EOS, LIMIT)
    sequences, log_probs, scores = changed.enumerated(
        table, lambda log_probs, _: log_probs, EOS, LIMIT, 0.6
    )
    penalties = slow_penalties(models)
    wu, excess = (np.stack([penalties[s][i] for s in sequences], 1) for i in (0, 1))
    return {
        "wu": (sequences, log_probs, scores + wu),
        "both": (sequences, log_probs, scores + wu + excess),
    }


@pytest.mark.parametrize(
    ("search", "how"),
    [(rx.beam_search, {"beam_size": 108}), (rx.exact_search, {"budget": 40, "width": 3})],
)
def test_all_that_there_is_reranked_by_coverage_is_brute_force(search, how):
    models, found = searched(search, 40, count=40, **how)
    for name, truth in truths(models).items():
        changed.assert_best(found[name], truth)
        assert found[name].proven[:, :30].mean() > 0.9


@pytest.mark.parametrize(
    ("search", "how"), [(rx.beam_search, {"beam_size": 3}), (rx.exact_search, {"budget": 30})]
)
def test_what_few_rows_prove_under_a_coverage_penalty_is_true(search, how):
    models, found = searched(search, 3, **how)
    for name, (sequences, _, scores) in truths(models).items():
        result = found[name]
        assert 0.02 < result.proven[:, 0].mean() < 0.98
        best = -np.sort(-scores, axis=1)[:, :3]
        np.testing.assert_allclose(
            np.where(result.proven, result.scores, 0), np.where(result.proven, best, 0), 1e-10
        )
        for m in np.flatnonzero(result.stops[:, 0] == 1):
            row = tuple(result.tokens[m, 0, : result.lengths[m, 0]].tolist())
            np.testing.assert_allclose(result.scores[m, 0], scores[m, sequences.index(row)], 1e-10)


def test_the_best_by_the_models_own_score_that_a_constraint_allows():
    """The scores of a constrained search are renormalised, so never below the model's own: its
    bound holds for those, too."""
    models = slow.random_models(71, 200, V, sharpness=3.0)
    automaton = rx.containing([(2, 3)])

    def one(model):
        plain = functools.partial(slow.jax_step, model)
        link = rx.following(automaton, eos=EOS, length_limit=LIMIT)
        step, state = rx.processed(plain, jnp.asarray(model.state), link)
        options = {"bos": BOS, "eos": EOS, "beam_size": 3, "max_length": LIMIT}
        found = rx.beam_search(step, state, **options)
        own = jax.vmap(functools.partial(rx.score, plain, jnp.asarray(model.state), bos=BOS))
        return rx.reranked(found, own(found.tokens, found.lengths).score, bound=found.bound)

    with x64():
        found = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models))
    table = changed.tree(models, BOS, EOS, LIMIT)
    sequences, log_probs, _ = changed.enumerated(
        table, lambda log_probs, _: log_probs, EOS, LIMIT, 0
    )
    allowed = [(2, 3) in itertools.pairwise(s) for s in sequences]
    best = -np.sort(-np.where(allowed, log_probs, -np.inf), axis=1)[:, :3]
    assert (found.stops == rx.StopReason.EOS).all()
    assert 0.1 < found.proven[:, 0].mean() < 1
    np.testing.assert_allclose(
        np.where(found.proven, found.scores, 0), np.where(found.proven, best, 0), 1e-10
    )


def result(scores, stops):
    rows = len(scores)
    row = np.arange(rows)
    return rx.BeamResult(
        tokens=row[:, None] + np.zeros((rows, 2), int),
        lengths=row,
        scores=np.asarray(scores, np.float32),
        log_probs=-row.astype(np.float32),
        token_log_probs=np.zeros((rows, 2)) + row[:, None],
        attention={"a": np.zeros((rows, 2, 3)) + row[:, None, None]},
        stops=np.asarray(stops),
        proven=np.ones(rows, bool),
        bound=np.float32(-1.5),
        steps=np.int32(2),
        invalid=np.bool_(False),
    )


def test_every_field_moves_with_its_row():
    before = result([-1, -2, -3, -4, -5, -np.inf], [1, 1, 1, 2, 2, 0])
    after = jax.jit(rx.reranked)(before, jnp.array([-7.0, -2, -2, -9, -1, 0]))
    order = [1, 2, 0, 4, 3, 5]  # finished, cut, empty; equal ones as they were
    expected = jax.tree.map(lambda leaf: leaf[order] if np.ndim(leaf) else leaf, before)
    expected = expected._replace(
        scores=np.array([-2, -2, -7, -1, -9, -np.inf]), proven=np.zeros(6, bool), bound=np.inf
    )
    jax.tree.map(np.testing.assert_array_equal, after, expected)


def test_what_is_proven_under_a_bound():
    before = result([-1, -2, -3], [1, 1, 2])
    after = rx.reranked(before, jnp.array([-1.2, -1.1, -0.5]), bound=-1.15)
    assert after.scores.tolist() == np.float32([-1.1, -1.2, -0.5]).tolist()
    assert after.proven.tolist() == [True, False, False]
    assert after.bound == np.float32(-1.15)


def test_nan_ranks_last():
    after = rx.reranked(result([-1, -2], [1, 1]), jnp.array([np.nan, -5.0]))
    assert after.lengths.tolist() == [1, 0]
    assert after.scores.tolist() == [-5, -np.inf]


def test_a_position_that_is_never_looked_at_costs_a_finite_number():
    weights = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    penalty = rx.wu_coverage(weights, 1.0)
    np.testing.assert_allclose(penalty, np.log(np.finfo(np.float32).tiny), rtol=1e-6)
    assert rx.wu_coverage(weights, 1.0, 1) == 0
    assert rx.excess_coverage(weights, 0.5) == -0.5
    assert rx.excess_coverage(weights[:1], 0.5) == 0


def test_coverage_is_summed_in_float32():
    weights = np.full((7, 5), 0.1328125, np.float32)  # a bfloat16 number, but 7 times it is not
    narrow = rx.wu_coverage(jnp.asarray(weights, jnp.bfloat16), 0.2)
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, 0.2 * 5 * np.log(7 * 0.1328125), rtol=1e-6)


def test_unknown_words_are_what_was_looked_at():
    weights = np.array([[0.1, 0.7, 0.2], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0, 0, 1]])
    words, source = ["<unk>", "<unk>", "is"], ["ist", "Ulm"]
    replaced = rx.replace_unknown(words, weights, source, dictionary={"Bern": "Berne"})
    assert replaced == ["Ulm", "Ulm", "is"]
    again = rx.replace_unknown(["?", "is"], weights, source, unknown="?", dictionary={"Ulm": "U."})
    assert again == ["U.", "is"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rx.reranked(None, np.zeros(2)), TypeError, "result must be a BeamResult"),
        (lambda: rx.reranked(result([-1], [1]), 0.0), ValueError, "scores must have the shape"),
        (lambda: rx.wu_coverage(jnp.ones(3), 1.0), ValueError, "wu_coverage: weights must have"),
        (lambda: rx.wu_coverage(jnp.ones((2, 3)), -1.0), ValueError, "strength must be at least 0"),
        (
            lambda: rx.wu_coverage(jnp.ones((2, 3)), 1.0, 4),
            ValueError,
            r"source_length must be in \[0, 3\], got 4",
        ),
        (lambda: rx.excess_coverage(jnp.ones((2, 3)), "x"), TypeError, "strength must be a number"),
        (lambda: rx.replace_unknown(["a"], [[]], ["b"]), ValueError, "attention must have shape"),
        (lambda: rx.replace_unknown(["a"], [[1]], []), ValueError, "source words"),
    ],
)
def test_errors_teach(make, error, message):
    with pytest.raises(error, match=message):
        make()
