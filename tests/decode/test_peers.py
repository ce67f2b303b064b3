"""The defects that others' decoders have, or had: one test for each, named after it.

Vocabulary: 0 starts, 1 ends, 2 and 3 are words. Tables are [T, V, V]: P(next | time, token).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import recurrax.decode as rx
from tests.decode import models as slow

BOS, EOS, A, B = range(4)
T = 8


def table(default, **rows):
    """`default` at every place but `tN_token=[...]`."""
    result = np.tile(np.asarray(default, np.float32), (T, 4, 1))
    for place, row in rows.items():
        time, _, token = place.partition("_")
        result[int(time[1:]), {"bos": BOS, "a": A, "b": B}[token]] = row
    return result


# Both words most likely end at once. What goes on ends, for certain, at the eighth token.
ENDS_EARLY = table(
    [0, 0, 1, 0],
    t0_bos=[0, 0, 0.6, 0.4],
    t1_a=[0, 0.8, 0.2, 0],
    t1_b=[0, 1, 0, 0],
    t7_a=[0, 1, 0, 0],
)
SHORT, LONG = [A, EOS], [A, A, A, A, A, A, A, EOS]


@functools.partial(jax.jit, static_argnames="n_best")
def run(probabilities, options, n_best):
    step, state = slow.table_step(probabilities), jnp.int32(0)
    sizes = {"beam_size": 2, "max_length": T, "n_best": n_best}
    return rx.beam_search(step, state, bos=BOS, eos=EOS, **sizes, **options)


def search(probabilities, **options):
    static = {"n_best": options.pop("n_best", None)}
    return run(jnp.asarray(probabilities), options, **static)


def sequence(result, row=0):
    return result.tokens[row, : result.lengths[row]].tolist()


def test_the_stop_is_not_reduced_over_the_batch():
    """t5x, the old Flax transformers, Nematus: a finished example changes while a mate runs."""
    never_ends = table([0, 0, 0.5, 0.5])

    def one(probabilities):
        return search(probabilities, n_best=1)

    alone = jax.tree.map(lambda leaf: leaf[0], jax.vmap(one)(ENDS_EARLY[None]))
    both = jax.vmap(one)(jnp.stack([ENDS_EARLY, never_ends]))
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[0], both), alone)
    assert both.steps.tolist() == [2, T]


def test_the_stop_bound_is_right_for_a_negative_length_penalty():
    """With alpha < 0 a prefix is at its best if it ends soon; a bound at max_length stops early."""
    probabilities = table(
        [0, 0.5, 0.25, 0.25], t0_bos=[0, 0.3, 0.6, 0.1], t1_a=[0, 0.9, 0.05, 0.05]
    )
    result = search(probabilities, length_penalty=-2.0, n_best=1)
    at_max_length = np.log(0.6) * ((5 + T) / 6) ** 2
    assert at_max_length < np.log(0.3)  # the wrong bound: nothing can beat the first
    assert sequence(result) == [A, EOS]
    assert result.proven[0]


def test_a_finished_hypothesis_stops_accumulating():
    """keras-hub: end tokens go on being scored."""
    result = search(ENDS_EARLY, length_penalty=3.0)
    assert result.steps == T
    rows = [sequence(result, n) for n in range(2)]
    short = rows.index(SHORT)
    np.testing.assert_allclose(result.log_probs[short], np.log(0.6 * 0.8), rtol=1e-5)
    assert (result.token_log_probs[short, 2:] == 0).all()


def test_a_finished_hypothesis_keeps_no_slot():
    """JoeyNMT: the finished stay in the beam. Here the only slot's worth left would miss b b."""
    probabilities = table(
        [0, 1, 0, 0],
        t0_bos=[0, 0.4, 0.35, 0.25],
        t1_a=[0, 0, 0.5, 0.5],  # a word that leads nowhere much
        t1_b=[0, 0, 0.02, 0.98],
    )
    result = search(probabilities, n_best=2)
    assert sequence(result, 0) == [EOS]
    assert sequence(result, 1) == [B, B, EOS]


def test_finished_candidates_do_not_starve_the_search():
    """OpenNMT-py: only the first K candidates are kept, and here both of them end."""
    result = search(ENDS_EARLY, length_penalty=3.0)
    assert sequence(result) == LONG


def test_the_best_is_returned_not_the_first():
    """fairseq: the search ends as soon as K have finished."""
    assert sequence(search(ENDS_EARLY, length_penalty=3.0, patience=1.0)) == SHORT
    result = search(ENDS_EARLY, length_penalty=3.0)
    assert sequence(result) == LONG
    assert result.scores[0] > result.scores[1]


def test_the_length_penalty_is_part_of_the_stop_rule():
    """joeynmt#148, #149 and OpenNMT-py#1320: the penalty is applied after an unaware stop."""
    assert sequence(search(ENDS_EARLY, length_penalty=0.0)) == SHORT
    assert search(ENDS_EARLY, length_penalty=0.0, n_best=1).steps == 2
    assert sequence(search(ENDS_EARLY, length_penalty=rx.average(1.0))) == LONG
    assert sequence(search(ENDS_EARLY, length_penalty=rx.word_reward(1.0))) == LONG


def test_attention_is_kept_under_beam_search():
    """JoeyNMT: dropped. Each token has what was seen while it was chosen, along its own path."""
    result = search(ENDS_EARLY, length_penalty=3.0)
    long = [[t, token] for t, token in enumerate([BOS, *LONG[:-1]])]
    assert result.attention[0].tolist() == long
    assert result.attention[1, :2].tolist() == [[0, BOS], [1, A]]
    assert (result.attention[1, 2:] == 0).all()


def test_states_follow_their_hypotheses():
    """sockeye#731: not every part of the state is reordered. Here each is a history of its own."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(50, 6, 6)), jnp.float32)

    def step(state, token):
        read = {
            "tokens": state["tokens"].at[state["time"]].set(token),
            "time": state["time"] + 1,
            "pair": (state["pair"][0] * 6 + token, state["pair"][1]),
        }
        row = logits[read["pair"][0] % 50, token]
        return read, (row, read)

    state = {
        "tokens": jnp.full(T, -1),
        "time": jnp.int32(0),
        "pair": (jnp.int32(0), jnp.zeros((2, 3), bool)),
    }
    options = {"bos": BOS, "eos": EOS, "beam_size": 5, "max_length": T}
    result = jax.jit(lambda s: rx.beam_search(step, s, length_penalty=1.0, **options))(state)
    for row in range(5):
        length = int(result.lengths[row])
        read = [BOS, *sequence(result, row)[:-1]]
        seen = result.attention["tokens"][row, length - 1]
        assert seen[:length].tolist() == read
        assert result.attention["time"][row, :length].tolist() == list(range(1, length + 1))


def test_lengths_are_those_of_each_example():
    """transformers#25455: the length of the whole batch is used."""
    one = functools.partial(search, length_penalty=3.0, n_best=1)
    quick = table([0, 0.97, 0.02, 0.01])
    result = jax.vmap(one)(jnp.stack([quick, ENDS_EARLY]))
    assert result.lengths[:, 0].tolist() == [len([EOS]), len(LONG)]


def test_scores_are_those_of_rescoring():
    """sockeye#639."""
    result = search(ENDS_EARLY, length_penalty=0.7)
    for row in range(2):
        again = rx.score(
            slow.table_step(ENDS_EARLY),
            jnp.int32(0),
            result.tokens[row],
            result.lengths[row],
            bos=BOS,
            length_penalty=0.7,
        )
        np.testing.assert_allclose(result.scores[row], again.score, rtol=1e-6)
        np.testing.assert_allclose(result.token_log_probs[row], again.token_log_probs, rtol=1e-6)


def test_results_do_not_depend_on_the_batch_or_the_padding():
    """OpenNMT-py#137, #994, fairseq#3078, tensor2tensor#1756, joeynmt#50.

    The step reads a masked source; `test_invariance` has the same for real widths, bit for bit.
    """
    rng = np.random.default_rng(3)
    sources = jnp.asarray(rng.integers(0, 4, (6, 5)))
    lengths = jnp.asarray([1, 5, 3, 2, 4, 5])
    embedded = jnp.asarray(2 * rng.normal(size=(4, 4, 4)), jnp.float32)

    @jax.jit
    @jax.vmap
    def decode(source, length):
        seen = jnp.where(jnp.arange(source.size) < length, embedded[source, 1].T, 0).sum(1)

        def step(state, token):
            state = jnp.tanh(embedded[token, 0] + state)
            return state, embedded[token] @ (state + seen)

        options = {"bos": BOS, "eos": EOS, "beam_size": 3, "max_length": T}
        return rx.beam_search(step, jnp.zeros(4), length_penalty=1.0, **options)

    together = decode(sources, lengths)
    padded = decode(jnp.pad(sources, ((0, 0), (0, 9)), constant_values=3), lengths)
    for i in range(6):
        alone = jax.tree.map(lambda leaf: leaf[0], decode(sources[i : i + 1], lengths[i : i + 1]))
        for whole in (together, padded):
            row = jax.tree.map(lambda leaf, i=i: leaf[i], whole)
            assert row.tokens.tolist() == alone.tokens.tolist()
            assert row.steps == alone.steps
            np.testing.assert_allclose(row.scores, alone.scores, rtol=1e-5)


def test_other_values_compile_nothing():
    """xla#2757: a program for each sentence."""
    programs: Callable[[], int] = getattr(run, "_cache_size")  # noqa: B009
    search(ENDS_EARLY, length_penalty=0.5, length_limit=7, min_length=0)
    compiled = programs()
    for limit in range(1, T):
        search(ENDS_EARLY, length_penalty=0.1 * limit, length_limit=limit, min_length=limit // 2)
    assert programs() == compiled


def test_a_search_error_is_seen_and_the_exact_search_mends_it():
    """transformers#28356 asks for exact search; no peer says that its beam missed the best."""
    probabilities = table([0, 1, 0, 0], t0_bos=[0, 0, 0.6, 0.4], t1_a=[0, 0.5, 0.25, 0.25])
    step, state = slow.table_step(probabilities), jnp.int32(0)
    options: dict = {"bos": BOS, "eos": EOS, "max_length": T}

    @jax.jit
    def searches():
        missed = rx.greedy(step, state, **options)
        mended = rx.exact_search(step, state, incumbent=missed, **options)
        return missed, mended, rx.best_first_search(step, state, budget=20, **options)

    missed, *others = searches()
    assert sequence(missed) == SHORT
    assert not missed.proven[0]
    np.testing.assert_allclose(missed.bound, np.log(0.4), rtol=1e-6)
    np.testing.assert_allclose(missed.gap[0], np.log(0.4 / 0.3), rtol=1e-5)
    for exact in others:
        assert sequence(exact) == [B, EOS]
        assert exact.proven[0]
        assert exact.gap[0] == 0
