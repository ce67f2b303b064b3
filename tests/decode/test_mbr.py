"""Utilities against counting in Python and sacrebleu; the choice against a plain double loop."""

from __future__ import annotations

import collections
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.decode import character_table, chrf, ngram_f, sentence_bleu
from tests.support import x64

EOS = 2
SIZE = 9


def grams(text, n):
    return collections.Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


def slow_f(text, reference, order, beta):
    pairs = [(grams(text, n), grams(reference, n)) for n in range(1, order + 1)]
    pairs = [(a, b) for a, b in pairs if a and b]
    if not pairs:
        return 0.0
    precision = sum((a & b).total() / a.total() for a, b in pairs) / len(pairs)
    recall = sum((a & b).total() / b.total() for a, b in pairs) / len(pairs)
    if precision + recall == 0:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def slow_bleu(text, reference, order, smoothing):
    if not grams(text, 1) & grams(reference, 1):
        return 0.0
    total = min(0.0, 1 - len(reference) / len(text))
    for n in range(1, order + 1):
        a, b, k = grams(text, n), grams(reference, n), smoothing * (n > 1)
        total += math.log(((a & b).total() + k) / (a.total() + k)) / order
    return math.exp(total)


def random_texts(seed, count, vocabulary=3, low=0, size=SIZE):
    """`(tokens, lengths)`; the padding is random as well, and few tokens make many repetitions."""
    rng = np.random.default_rng(seed)
    return rng.integers(3, 3 + vocabulary, (count, size)), rng.integers(low, size + 1, count)


def rows(tokens, lengths):
    return [t[:n].tolist() for t, n in zip(tokens, lengths, strict=True)]


@pytest.mark.parametrize(
    ("made", "slow", "settings"),
    [
        (ngram_f, slow_f, [(4, 1.0), (2, 0.5), (6, 2.0), (1, 3.0)]),
        (sentence_bleu, slow_bleu, [(4, 1.0), (3, 0.1), (1, 1.0)]),
    ],
)
def test_utilities_are_what_counting_gives(made, slow, settings):
    texts, others = random_texts(0, 400), random_texts(1, 400, size=SIZE + 2)
    for order, strength in settings:
        with x64():
            got = jax.jit(jax.vmap(made(order, strength)))(*texts, *others)
        pairs = zip(rows(*texts), rows(*others), strict=True)
        wanted = [slow(a, b, order, strength) for a, b in pairs]
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-15)
        assert len(set(np.round(wanted, 6))) > 10
        assert 0 in wanted


PIECES = ["", "<unk>", "", "▁a", "b", "▁ab", "▁cd", "c", "dd", "▁"]


def spelled(row):
    return "".join(PIECES[t] for t in row).replace("▁", " ").strip()


def test_chrf_is_sacrebleus():
    sacrebleu = pytest.importorskip("sacrebleu")
    texts, others = random_texts(2, 300, 7), random_texts(3, 300, 7)
    utility = chrf(character_table(PIECES), size=2 * SIZE)
    got = jax.jit(jax.vmap(utility))(*texts, *others)
    pairs = zip(rows(*texts), rows(*others), strict=True)
    metric = sacrebleu.metrics.CHRF()
    wanted = [metric.sentence_score(spelled(a), [spelled(b)]).score / 100 for a, b in pairs]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert np.ptp(wanted) > 0.5


def test_bleu_is_sacrebleus_with_added_counts():
    sacrebleu = pytest.importorskip("sacrebleu")
    texts, others = random_texts(4, 200), random_texts(5, 200, low=1)
    got = jax.jit(jax.vmap(sentence_bleu()))(*texts, *others)
    pairs = zip(rows(*texts), rows(*others), strict=True)
    metric = sacrebleu.metrics.BLEU(
        tokenize="none", smooth_method="add-k", smooth_value=1, effective_order=True
    )

    def words(row):
        return " ".join(map(str, row))

    wanted = [metric.sentence_score(words(a), [words(b)]).score / 100 for a, b in pairs]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_text_without_room_is_nan_and_comes_last():
    utility = chrf(character_table(PIECES), size=3)
    tokens = jnp.array([[8, 8, EOS], [4, 7, EOS], [4, EOS, EOS]])
    ranked = rx.minimum_bayes_risk(
        tokens, jnp.array([3, 3, 2]), utility, eos=EOS, evidence=(tokens[1:], jnp.array([3, 2]))
    )
    assert np.isnan(ranked.expected).tolist() == [True, False, False]
    assert ranked.order[-1] == 0
    assert (
        utility(tokens[0], jnp.int32(1), tokens[0], jnp.int32(1)) == 1
    )  # what stands past the length needs no room


def test_a_weight_of_nan_is_seen():
    tokens, lengths = jnp.array([[3, EOS], [4, EOS]]), jnp.array([2, 2])
    weights = jnp.array([jnp.nan, 0.0])
    ranked = rx.minimum_bayes_risk(tokens, lengths, ngram_f(1), eos=EOS, log_weights=weights)
    assert np.isnan(ranked.expected).all()


def with_ends(seed, count, rows_each):
    """Rows as decoders return them: some end with the end token, some were cut, some are empty."""
    tokens, lengths = random_texts(seed, count * rows_each)
    rng = np.random.default_rng(seed + 1)
    for row, length in zip(tokens, lengths, strict=True):
        if length and rng.random() < 0.7:
            row[length - 1 :] = EOS
    return tokens.reshape(count, rows_each, SIZE), lengths.reshape(count, rows_each)


@pytest.mark.parametrize(
    ("made", "slow"),
    [
        (ngram_f(3, 2.0), lambda a, b: slow_f(a, b, 3, 2.0)),
        (sentence_bleu(2), lambda a, b: slow_bleu(a, b, 2, 1.0)),
    ],
)
@pytest.mark.parametrize("separate", [False, True])
def test_the_choice_is_the_double_loops(made, slow, separate):
    count = 60
    candidates, evidence = with_ends(6, count, 5), with_ends(8, count, 7)
    if not separate:
        evidence = candidates
    log_weights = np.random.default_rng(10).normal(size=evidence[1].shape) * 2

    @jax.jit
    @jax.vmap
    def choose(candidates, evidence, log_weights):
        tokens, lengths = candidates
        return rx.minimum_bayes_risk(
            tokens,
            lengths,
            made,
            eos=EOS,
            log_weights=log_weights,
            evidence=evidence if separate else None,
        )

    with x64():
        order, expected = choose(candidates, evidence, log_weights)

    def texts(tokens, lengths):
        return [[x for x in row if x != EOS] for row in rows(tokens, lengths)]

    chosen = set()
    for i in range(count):
        weights = np.exp(log_weights[i]) * (evidence[1][i] > 0)
        others = texts(evidence[0][i], evidence[1][i])
        wanted = [
            sum(w * slow(text, other) for w, other in zip(weights, others, strict=True))
            / weights.sum()
            for text in texts(candidates[0][i], candidates[1][i])
        ]
        wanted = np.where(candidates[1][i] > 0, wanted, -np.inf)
        np.testing.assert_allclose(expected[i], wanted, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(order[i], np.argsort(-np.asarray(expected[i]), kind="stable"))
        chosen.add(int(order[i, 0]))
    assert len(chosen) == 5


def test_frequent_samples_win_and_weights_of_a_list_say_the_same():
    """Equal weights over samples are the weighted list of the distinct ones."""
    distinct = jnp.array([[3, 4, 5, EOS], [3, 4, 6, EOS], [7, 7, 7, EOS]])
    counts = jnp.array([2, 2, 3])
    samples = jnp.repeat(distinct, counts, axis=0, total_repeat_length=7)
    listed = rx.minimum_bayes_risk(
        distinct, jnp.full(3, 4), ngram_f(2), eos=EOS, log_weights=jnp.log(counts)
    )
    drawn = rx.minimum_bayes_risk(
        distinct, jnp.full(3, 4), ngram_f(2), eos=EOS, evidence=(samples, jnp.full(7, 4))
    )
    np.testing.assert_allclose(listed.expected, drawn.expected, rtol=1e-6)
    assert listed.order.tolist() == [0, 1, 2]  # the likeliest one is like no other; then a tie


def test_nothing_to_choose_from():
    ranked = rx.minimum_bayes_risk(jnp.full((2, 3), EOS), jnp.zeros(2, int), ngram_f(), eos=EOS)
    assert (ranked.expected == -jnp.inf).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"evidence": jnp.ones((2, 3), int)}, TypeError, "evidence must be a pair"),
        ({"tokens": jnp.zeros(3, int)}, ValueError, r"tokens must have shape \[N, T\]"),
        ({"tokens": jnp.zeros((2, 3))}, TypeError, "tokens must be integers"),
        ({"lengths": jnp.ones(3, int)}, ValueError, "lengths of tokens"),
        ({"utility": "bleu"}, TypeError, "utility must be a function"),
        ({"log_weights": jnp.zeros(3)}, ValueError, "log_weights must have shape"),
        ({"evidence": (jnp.zeros(3, int), 3)}, ValueError, "evidence must have shape"),
        ({"eos": -1}, ValueError, "eos must be at least 0"),
    ],
)
def test_errors(change, error, message):
    good = {"tokens": jnp.ones((2, 3), int), "lengths": jnp.ones(2, int), "utility": ngram_f()}
    arguments = {**good, "eos": EOS, **change}
    with pytest.raises(error, match=f"minimum_bayes_risk: .*{message}"):
        rx.minimum_bayes_risk(**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ngram_f(0), "ngram_f: order must be at least 1"),
        (lambda: ngram_f(2, 0.0), "ngram_f: beta must be above 0"),
        (lambda: sentence_bleu(2, -1.0), "sentence_bleu: smoothing must be above 0"),
        (lambda: chrf(jnp.zeros(3, int)), r"chrf: characters must be integers of shape \[V, C\]"),
        (lambda: chrf(jnp.zeros((3, 1), int), size=0), "chrf: size must be at least 1"),
    ],
)
def test_errors_of_the_utilities(make, message):
    with pytest.raises(ValueError, match=message):
        make()
