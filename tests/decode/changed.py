"""The slow truth for changed models: every sequence, with any function of the history at each step.

All models share their histories, so that one NumPy call serves all of them.
"""

from __future__ import annotations

import numpy as np

from tests.decode import models as slow


def normalised(logits):
    """Over the last axis; rows of -inf stay so."""
    top = logits.max(-1, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = safe + np.log(np.exp(logits - safe).sum(-1, keepdims=True))
        return np.where(np.isfinite(total), logits - total, -np.inf)


def states(models, bos, eos, limit):
    """`{history: state [M, H]}` after every history of fewer than `limit` tokens."""
    found, before = {}, {(): models.state}
    for _ in range(limit):
        longer = {}
        for history, state in before.items():
            token = history[-1] if history else bos
            state = np.einsum("mij,mj->mi", models.reads[:, token], state)
            found[history] = np.tanh(state + models.biases[:, token])
            going = [v for v in range(models.biases.shape[1]) if v != eos]
            longer |= {(*history, v): found[history] for v in going}
        before = longer
    return found


def tree(models, bos, eos, limit):
    """`{history: log-probabilities [M, V]}` of the same histories."""
    return {
        history: normalised(np.einsum("mvi,mi->mv", models.writes, state))
        for history, state in states(models, bos, eos, limit).items()
    }


def enumerated(found, change, eos, limit, alpha):
    """All finished sequences of `{history: log-probabilities}` under `change(log_probs, history)`.

    Returns `(sequences, log_probs [M, n], scores [M, n])`.
    """
    totals, sequences, log_probs, scores = {(): 0.0}, [], [], []
    for history, rows in found.items():  # short ones first
        if len(history) == limit:
            break
        rows = change(rows, history)
        before = totals.pop(history)
        for token in range(rows.shape[1]):
            total = before + rows[:, token]
            if token == eos:
                sequences.append((*history, eos))
                log_probs.append(total)
                scores.append(slow.gnmt_score(total, len(history) + 1, alpha))
            else:
                totals[*history, token] = total
    return sequences, np.stack(log_probs, 1), np.stack(scores, 1)


def assert_best(found, truth, rtol=1e-10):
    """The finished rows of `found`, leaves [M, N, ...], are the best N of `truth`, in order."""
    sequences, log_probs, scores = truth
    rows = found.scores.shape[1]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :rows]
    best = np.take_along_axis(scores, order, 1)
    ended = best > -np.inf
    np.testing.assert_array_equal(found.stops[:, : ended.shape[1]] == 1, ended)
    totals = np.take_along_axis(log_probs, order, 1)
    for got, wanted in ((found.scores, best), (found.log_probs, totals)):
        np.testing.assert_allclose(
            np.where(ended, got[:, : ended.shape[1]], 0), np.where(ended, wanted, 0), rtol, 1e-11
        )
    for m, n in np.argwhere(ended):
        if (np.abs(best[m] - best[m, n]) < 1e-9).sum() > 1:
            continue  # equal scores: either order will do
        read = tuple(found.tokens[m, n, : found.lengths[m, n]].tolist())
        assert read == sequences[order[m, n]], (m, n)
