"""CTC's prefix beam search against the enumeration of all alignments and a plain Python one."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.decode import LanguageModel
from tests.decode import models as slow
from tests.decode.alignments import (
    BLANK,
    BOS,
    EOS,
    Inputs,
    V,
    batched,
    close,
    enumerated,
    found,
    log_softmax,
    random_inputs,
)
from tests.support import x64


def search(inputs: Inputs, lm: str, **static):
    """`lm` is "none", "model", or "ending": a language model without and with its end token."""

    def one(logits, length, weight, reward, model):
        step = functools.partial(slow.jax_step, model)
        eos = EOS if lm == "ending" else None
        mixed = {
            "language_model": LanguageModel(step, model.state, BOS, eos),
            "weight": weight,
            "reward": reward,
        }
        return rx.ctc_beam_search(
            logits, length=length, blank=BLANK, **({} if lm == "none" else mixed), **static
        )

    return batched(one, *inputs)


@pytest.mark.parametrize(
    ("lm", "frames", "width", "count"),
    [
        ("none", 4, 121, 300),
        ("model", 4, 121, 300),
        ("ending", 4, 121, 300),
        pytest.param("none", 6, 1093, 20, marks=pytest.mark.slow),
        pytest.param("ending", 6, 1093, 20, marks=pytest.mark.slow),
    ],
)
def test_a_wide_beam_is_the_enumeration_of_all_alignments(lm, frames, width, count):
    inputs = random_inputs(0, count, frames)
    result = search(inputs, lm, beam_size=width)
    for i in range(count):
        labelings, log_probs, scores = enumerated(inputs, i, lm)
        number = len(labelings)
        assert found(result, i) == labelings
        close(result.log_probs[i, :number], log_probs)
        close(result.scores[i, :number], scores)
        assert (result.scores[i, number:] == -np.inf).all()
        past = np.arange(frames) >= result.lengths[i][:, None]
        assert (result.tokens[i][past] == BLANK).all()
    assert (result.missing < 1e-12).all()


def beam_of_dictionaries(inputs: Inputs, i: int, width: int, longest: int):
    """Hannun's search without a language model; counts the prefixes that fell out and came again
    while an extension of theirs was in the beam."""
    beam, seen, again = {(): (1.0, 0.0)}, set(), 0
    for frame in np.exp(log_softmax(inputs.logits[i, : inputs.length[i]])):
        new: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank, label) in beam.items():
            entry = new.setdefault(prefix, [0.0, 0.0])
            entry[0] += (blank + label) * frame[BLANK]
            if prefix:
                entry[1] += label * frame[prefix[-1]]
            for c in range(V):
                if c != BLANK and len(prefix) < longest:
                    held = prefix and prefix[-1] == c
                    entry = new.setdefault((*prefix, c), [0.0, 0.0])
                    entry[1] += (blank if held else blank + label) * frame[c]
        best = sorted(new, key=lambda p: -sum(new[p]))[:width]
        came = [p for p in best if p in seen and p not in beam]
        again += sum(q[:-1] == p for p in came for q in best if q)
        seen |= set(beam)
        beam = {prefix: tuple(new[prefix]) for prefix in best}
    return {prefix: sum(both) for prefix, both in beam.items()}, again


@pytest.mark.parametrize(("width", "longest"), [(1, 9), (5, 9), (9, 3)])
def test_every_frame_keeps_the_likeliest_prefixes_tensorflow_40727(width, longest):
    count, again = 300, 0
    inputs = random_inputs(2, count, 9, sharpness=1.0)
    result = search(inputs, "none", beam_size=width, max_length=longest)
    for i in range(count):
        beam, times = beam_of_dictionaries(inputs, i, width, longest)
        again += times
        assert found(result, i) == sorted(beam, key=lambda p: -beam[p])
        close(np.exp(result.log_probs[i, : len(beam)]), sorted(beam.values(), reverse=True))
        close(result.missing[i], 1 - sum(beam.values()))
    # The prefixes that a tree of nodes would hold twice, with their probability torn apart.
    assert again > 0 or width != 5


@pytest.mark.parametrize(
    ("lm", "width", "rows"), [("none", 2, 2), ("model", 2, 2), ("ending", 6, 3)]
)
def test_what_is_proven_is_true(lm, width, rows):
    count = 300
    inputs = random_inputs(4, count, 5, sharpness=3.0)
    result = search(inputs, lm, beam_size=width, n_best=rows)
    wrong = 0
    for i in range(count):
        labelings, _, _ = enumerated(inputs, i, lm)
        for n in range(len(found(result, i))):
            right = set(found(result, i)[: n + 1]) == set(labelings[: n + 1])
            assert right or not result.proven[i, n]
            wrong += not right
    assert wrong > 5
    assert result.proven[:, 0].mean() > 0.2


def test_neither_padding_nor_neighbours_count_and_values_compile_nothing():
    inputs = random_inputs(12, 40, 6)
    valid = np.arange(6) < inputs.length[:, None]
    padded = inputs._replace(logits=np.where(valid[..., None], inputs.logits, np.nan))
    traced = []

    def one(logits, length, weight, reward, model):
        traced.append(1)
        step = functools.partial(slow.jax_step, model)
        return rx.ctc_beam_search(
            logits,
            length=length,
            beam_size=4,
            language_model=LanguageModel(step, model.state, BOS),
            weight=weight,
            reward=reward,
        )

    with x64():
        run = jax.jit(jax.vmap(one))
        clean, dirty = run(*inputs), run(*padded)
        alone = [run(*jax.tree.map(lambda x, i=i: x[[i] * 40], inputs)) for i in (3, 17)]
    assert len(traced) == 1
    for i, single in zip((3, 17), alone, strict=True):
        for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(single), strict=True):
            np.testing.assert_array_equal(np.asarray(a)[i], np.asarray(b)[0])
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_language_model_forbids_is_not_found():
    """Also under a negative weight; a weight of 0 does not hear it."""

    def step(state, token):
        return state, jnp.array([0.0, -jnp.inf, 0.0, 0.0])

    inputs = random_inputs(14, 60, 4)
    weights = np.repeat([1.0, -1.0, 0.0], 20)

    def one(logits, weight):
        model = LanguageModel(step, (), BLANK)
        return rx.ctc_beam_search(logits, beam_size=121, language_model=model, weight=weight)

    result = batched(one, inputs.logits, weights)
    for i in range(60):
        heard = not (result.tokens[i] == 1).any()
        assert heard == (weights[i] != 0)
        assert (result.missing[i] > 1e-6) == heard
        assert result.proven[i].any() <= (weights[i] >= 0)
    assert not np.isnan(result.scores).any()


def test_logits_that_are_no_numbers_show():
    logits = np.random.default_rng(16).normal(size=(2, 3, V))
    logits[0, 1, 2] = np.nan
    result = batched(lambda x: rx.ctc_beam_search(x, beam_size=3), logits)
    assert np.isnan(result.scores).all(1).tolist() == [True, False]
    assert not result.proven[0].any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": jnp.zeros(3)}, ValueError, r"logits must have shape \[T, V\]"),
        ({"logits": jnp.zeros((3, V), int)}, TypeError, "logits must be floating"),
        ({"length": 4}, ValueError, r"length must be in \[0, 3\]"),
        ({"blank": V}, ValueError, "blank must be in"),
        ({"beam_size": 0}, ValueError, "beam_size must be at least 1"),
        ({"n_best": 3}, ValueError, "n_best must be at most beam_size=2"),
        ({"max_length": 0}, ValueError, "max_length must be at least 1"),
        ({"weight": "much"}, TypeError, "weight must be a number"),
        ({"language_model": abs}, TypeError, "language_model must be a LanguageModel, got"),
        (
            {"language_model": LanguageModel(lambda s, t: (s, jnp.zeros(3)), (), 0)},
            ValueError,
            "language_model must know the 4 labels, got logits for 3",
        ),
        (
            {"language_model": LanguageModel(lambda s, t: (s, jnp.zeros(5)), (), 0, 5)},
            ValueError,
            r"language_model: eos must be in \[0, 4\]",
        ),
    ],
)
def test_errors(change, error, message):
    arguments = {"logits": jnp.zeros((3, V)), "beam_size": 2, **change}
    with pytest.raises(error, match=f"ctc_beam_search: {message}"):
        rx.ctc_beam_search(arguments.pop("logits"), **arguments)
