"""Greedy search against a plain loop; a beam of 1 is the same."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from recurrax.decode import StopReason, beam_search, greedy
from tests.decode import models as slow
from tests.decode.test_beam import BOS, EOS, random_options
from tests.support import x64


@pytest.mark.parametrize(("vocabulary", "max_length"), [(3, 6), (20, 8)])
def test_greedy_is_the_plain_loop_and_a_beam_of_one(vocabulary, max_length):
    count = 500
    models = slow.random_models(7, count, vocabulary)
    options = random_options(8, count, max_length)

    def run(search, model, options):
        step = functools.partial(slow.jax_step, model)
        return search(
            step, model.state, bos=BOS, eos=EOS, max_length=max_length, **options._asdict()
        )

    with x64():
        result, beam = (
            jax.tree.map(np.asarray, jax.jit(jax.vmap(functools.partial(run, f)))(models, options))
            for f in (greedy, functools.partial(beam_search, beam_size=1))
        )
    jax.tree.map(np.testing.assert_array_equal, result, beam)
    for i in range(count):
        limit = options.length_limit[i]
        tokens, total = slow.plain_greedy(
            slow.one(models, i), BOS, EOS, limit, options.min_length[i]
        )
        length = int(result.lengths[i, 0])
        assert tuple(result.tokens[i, 0, :length]) == tokens
        np.testing.assert_allclose(result.log_probs[i, 0], total, rtol=1e-12)
        score = slow.gnmt_score(total, length, options.length_penalty[i])
        np.testing.assert_allclose(result.scores[i, 0], score, rtol=1e-12)
        expected = StopReason.EOS if tokens[-1] == EOS else StopReason.CUT
        assert result.stops[i, 0] == expected
