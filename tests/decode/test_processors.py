"""Each processor against NumPy, and all of them inside a search against enumeration."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax.decode as rx
from tests.decode import models as slow
from tests.support import x64

BOS, EOS, V = 0, 1, 4


def normalised(logits):
    with np.errstate(divide="ignore"):
        return logits - np.log(np.exp(logits).sum())


def top_k(log_probs, history):
    return np.where(np.argsort(np.argsort(-log_probs)) < 2, log_probs, -np.inf)


def top_p(log_probs, history):
    order = np.argsort(-log_probs)
    needed = np.searchsorted(np.cumsum(np.exp(log_probs)[order]), 0.7) + 1
    kept = np.isin(np.arange(len(log_probs)), order[:needed])
    return np.where(kept, log_probs, -np.inf)


def min_p(log_probs, history):
    return np.where(np.exp(log_probs) >= 0.3 * np.exp(log_probs.max()), log_probs, -np.inf)


def repetition(log_probs, history):
    return np.where(np.isin(np.arange(V), history), 1.7 * log_probs, log_probs)


def frequency(log_probs, history):
    return log_probs - 0.8 * np.bincount(np.array(history, int), minlength=V)


BIAS = np.array([0.5, 0.0, -np.inf, 1.0])
PAIRS = {
    "temperature": (lambda: rx.temperature(0.6), lambda log_probs, _: log_probs / 0.6),
    "top_k": (lambda: rx.keep_top_k(2), top_k),
    "top_p": (lambda: rx.keep_top_p(0.7), top_p),
    "min_p": (lambda: rx.keep_min_p(0.3), min_p),
    "bias": (lambda: rx.bias(BIAS), lambda log_probs, _: log_probs + BIAS),
    "repetition": (lambda: rx.repetition_penalty(1.7, V), repetition),
    "frequency": (lambda: rx.frequency_penalty(0.8, V), frequency),
}
CHOICES = [(name,) for name in PAIRS] + [("repetition", "temperature", "top_p"), ()]


@pytest.mark.parametrize("names", CHOICES, ids="-".join)
def test_a_search_through_processors_is_brute_force(names):
    count, limit = 60, 3
    models = slow.random_models(40, count, V)
    pairs = [PAIRS[name] for name in names]

    def one(model):
        step = functools.partial(slow.jax_step, model)
        step, state = rx.processed(step, jnp.asarray(model.state), *(make() for make, _ in pairs))
        options = {"bos": BOS, "eos": EOS, "beam_size": 36, "max_length": limit, "n_best": 3}
        found = rx.beam_search(step, state, length_penalty=0.6, **options)
        force = functools.partial(rx.score, step, state, bos=BOS)
        return found, jax.vmap(force)(found.tokens, found.lengths).log_prob

    with x64():
        found, forced = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(models))
    for i in range(count):
        model = slow.one(models, i)
        finished, live = [], [((), 0.0, model.state)]
        for length in range(1, limit + 1):
            longer = []
            for tokens, total, state in live:
                read = tokens[-1] if tokens else BOS
                state, log_probs = slow.read_one(model, state, read)
                for _, change in pairs:
                    log_probs = normalised(change(log_probs, tokens))
                rows = [((*tokens, t), total + log_probs[t], state) for t in range(V)]
                longer += [row for row in rows if row[0][-1] != EOS and row[1] > -np.inf]
                if rows[EOS][1] > -np.inf:
                    score = slow.gnmt_score(rows[EOS][1], length, 0.6)
                    finished.append((score, rows[EOS][1], rows[EOS][0]))
            live = longer
        finished = sorted(finished, key=lambda row: -row[0])[:3]
        for n, (score, log_prob, tokens) in enumerate(finished):
            assert tuple(found.tokens[i, n, : found.lengths[i, n]].tolist()) == tokens
            np.testing.assert_allclose(found.scores[i, n], score, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(forced[i, n], log_prob, rtol=1e-10, atol=1e-12)
        assert (found.stops[i] == rx.StopReason.EOS).sum() == len(finished)
    assert not found.invalid.any()


def test_what_is_forbidden_altogether_is_no_nan():
    step, state = rx.processed(
        lambda s, t: (s, jnp.zeros(3)), 0, rx.bias(jnp.full(3, -jnp.inf)), rx.temperature(0.5)
    )
    run = functools.partial(rx.beam_search, step, bos=0, eos=1, beam_size=2, max_length=3)
    result = jax.jit(run)(state)
    assert not result.invalid
    assert result.stops.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rx.temperature(0.0), ValueError, "temperature: value must be above 0"),
        (lambda: rx.keep_top_k(0), ValueError, "keep_top_k: count must be at least 1, got 0"),
        (lambda: rx.bias(np.zeros((2, 3))), ValueError, "bias: values must have shape"),
        (lambda: rx.keep_top_k(jnp.float32(2)), TypeError, "keep_top_k: count must be an integer"),
        (lambda: rx.keep_top_p(-0.1), ValueError, "keep_top_p: mass must be above 0"),
        (lambda: rx.keep_min_p(jnp.ones(2)), ValueError, "keep_min_p: share must be one number"),
        (lambda: rx.repetition_penalty(0, 5), ValueError, "repetition_penalty: penalty must be"),
        (lambda: rx.repetition_penalty(1.0, 0), ValueError, "vocabulary must be at least 1"),
        (lambda: rx.frequency_penalty(np.nan, 5), ValueError, "frequency_penalty: penalty must"),
    ],
)
def test_errors_teach(make, error, message):
    with pytest.raises(error, match=message):
        make()
