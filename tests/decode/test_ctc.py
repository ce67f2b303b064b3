"""The loss of CTC, and the best alignment, against the enumeration of all alignments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from recurrax.decode import ctc_loss
from tests.decode.alignments import (
    BLANK,
    V,
    alignments,
    batched,
    close,
    enumerated,
    found,
    log_softmax,
    random_inputs,
    spelled,
)


def test_greedy_is_the_best_alignment():
    inputs = random_inputs(6, 300, 6)
    greedy = batched(lambda x, n: rx.ctc_greedy(x, length=n), inputs.logits, inputs.length)
    better = 0
    for i in range(300):
        labelings, _, _ = enumerated(inputs, i, "none")
        steps = log_softmax(inputs.logits[i, : inputs.length[i]])
        assert found(greedy, i) == [spelled(steps.argmax(-1).tolist())]
        close(greedy.log_probs[i, 0], steps.max(-1).sum())
        close(greedy.missing[i], 1 - np.exp(steps.max(-1).sum()))
        assert greedy.proven[i, 0] == (steps.max(-1).sum() >= np.log(0.5))
        assert labelings[0] == found(greedy, i)[0] or not greedy.proven[i, 0]
        better += labelings[0] != found(greedy, i)[0]
    assert better > 20


def random_labels(seed, count, size):
    """Labels to align with, what stands past their lengths being wild."""
    rng = np.random.default_rng(seed)
    labels, lengths = rng.integers(1, V, (count, size)), rng.integers(0, size + 1, count)
    return np.where(np.arange(size) < lengths[:, None], labels, rng.integers(-9, 99)), lengths


def test_the_loss_and_its_gradient_are_those_of_the_enumeration():
    count, frames = 200, 5
    inputs = random_inputs(8, count, frames)
    labels, label_lengths = random_labels(9, count, 4)
    frames_of = np.arange(frames) < inputs.length[:, None]
    logits = np.where(frames_of[..., None], inputs.logits, np.nan)

    def loss(logits, labels, length, label_length):
        return ctc_loss(logits, labels, length=length, label_length=label_length)

    losses, gradients = batched(
        jax.value_and_grad(loss), logits, labels, inputs.length, label_lengths
    )
    impossible = 0
    for i in range(count):
        number = int(inputs.length[i])
        paths, labelings, which = alignments(number)
        target = tuple(labels[i, : label_lengths[i]].tolist())
        expected = np.zeros((frames, V))
        if target not in labelings:
            impossible += 1
            assert losses[i] == np.inf
        else:
            chosen = paths[which == labelings.index(target)]
            steps = log_softmax(inputs.logits[i, :number])
            each = np.exp(steps[np.arange(number), chosen].sum(1))
            close(losses[i], -np.log(each.sum()))
            # p(label at t) under the model, less the same under the alignments of the target.
            occupied = np.zeros((number, V))
            for t in range(number):
                np.add.at(occupied[t], chosen[:, t], each / each.sum())
            expected[:number] = np.exp(steps) - occupied
        close(gradients[i], expected, atol=1e-9)
    assert 10 < impossible < count / 2


def test_logits_of_minus_infinity_forbid_a_label():
    """In one frame or in all, of the target or not: against enumeration; and a frame of nothing."""
    count, frames, target = 60, 4, (1, 2)
    rng = np.random.default_rng(11)
    logits = 2 * rng.normal(size=(count, frames, V))
    logits[rng.random((count, frames, V)) < 0.3] = -np.inf
    logits[:20, :, 3] = -np.inf
    logits[0, 1] = -np.inf
    losses, gradients = batched(
        jax.value_and_grad(lambda x: ctc_loss(x, jnp.array(target))), logits
    )
    paths, labelings, which = alignments(frames)
    chosen = paths[which == labelings.index(target)]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.nan_to_num(log_softmax(logits), nan=-np.inf, neginf=-np.inf)
        total = np.exp(steps[:, np.arange(frames), chosen].sum(-1)).sum(-1)
        close(losses, -np.log(total))
    impossible = total == 0
    assert 5 < impossible.sum() < count - 5
    assert (gradients[impossible] == 0).all()
    assert np.isfinite(gradients).all()
    assert (gradients[np.isneginf(logits)] == 0).all()


@pytest.mark.parametrize("label", [BLANK, -1, V])
def test_a_label_that_cannot_be_is_no_loss(label):
    assert np.isnan(ctc_loss(jnp.zeros((3, V)), jnp.array([1, label])))
    assert np.isfinite(ctc_loss(jnp.zeros((3, V)), jnp.array([1, label]), label_length=1))


@pytest.mark.parametrize("blank", [1, V - 1])
def test_the_blank_may_stand_anywhere(blank):
    """Labels renamed, results renamed."""
    inputs = random_inputs(10, 50, 5)
    names = np.roll(np.arange(V), blank)  # the new name's old name, the blank's being 0
    renamed = inputs.logits[:, :, names]
    labels = np.argsort(names)[[1, 2]]
    old, first, lost = batched(
        lambda x: (
            rx.ctc_beam_search(x, beam_size=6),
            rx.ctc_greedy(x),
            ctc_loss(x, jnp.array([1, 2])),
        ),
        inputs.logits,
    )
    new, other, again = batched(
        lambda x: (
            rx.ctc_beam_search(x, beam_size=6, blank=blank),
            rx.ctc_greedy(x, blank=blank),
            ctc_loss(x, labels, blank=blank),
        ),
        renamed,
    )
    close(lost, again)
    for a, b in ((old, new), (first, other)):
        np.testing.assert_array_equal(a.tokens, names[b.tokens])
        close(a.scores, b.scores)


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (jnp.ones((1, 2), int), {}, ValueError, r"labels must have shape \[L\]"),
        (jnp.ones(2), {}, TypeError, "labels must be integers"),
        (jnp.ones(2, int), {"label_length": 3}, ValueError, "label_length must be in"),
    ],
)
def test_errors_of_the_loss(labels, options, error, message):
    with pytest.raises(error, match=f"ctc_loss: {message}"):
        ctc_loss(jnp.zeros((3, V)), labels, **options)
