"""The translator's equations: one answer by teacher forcing, step by step and in any batch."""

from typing import Any

import jax
import numpy as np
import pytest

import recurrax as rx
from experiments.translation.batches import Batch, Soft
from experiments.translation.loss import batch_loss
from experiments.translation.model import ModelConfig, Translator
from experiments.translation.tokenizer import BOS, EOS, PAD
from tests.support import x64

V, B, S, T = 60, 4, 8, 7
SMOOTHING = 0.1
WIDTHS: Any = {
    "embedding": 8,
    "encoder": 6,
    "decoder": 8,
    "attention_features": 5,
    "attentional": 8,
}
CONFIGS = {
    "lstm additive": {},
    "gru general deep": {"cell": "gru", "attention": "general", "tie": "output"}
    | {"encoder_layers": 2, "decoder_layers": 2, "variational": False},
    "elman dot unfed": {"cell": "elman", "attention": "dot", "decoder": 12, "tie": "embeddings"}
    | {"input_feeding": False},
    "lstm scaled_dot deep": {"attention": "scaled_dot", "decoder": 12, "tie": "all"}
    | {"encoder_layers": 2, "decoder_layers": 2, "weight_dropout": 0.4, "word_dropout": 0.2},
}


def make(**options):
    translator = Translator(ModelConfig(**{**WIDTHS, **options}), V, V)
    dtype = jax.dtypes.canonicalize_dtype(float)
    params = jax.jit(lambda key: translator.init(key, dtype))(jax.random.key(0))
    return translator, params


def random_batch(source_length, target_length, seed=0):
    """Random pieces, EOS at the end, and beyond it what may be anything."""
    draw = np.random.default_rng(seed)
    sides = []
    for lengths, width in ((source_length, S), (target_length, T)):
        ids = draw.integers(EOS + 1, V, (B, width), np.int32)
        for row, length in zip(ids, lengths, strict=True):
            row[max(length - 1, 0) : length] = EOS
        sides += [ids, np.array(lengths, np.int32)]
    return Batch(*sides)


@pytest.fixture(scope="module")
def batch():
    return random_batch([8, 5, 1, 6], [7, 4, 2, 7])


def make_gradient(translator):
    """Loss and gradient as a training step takes them, dropout and all."""

    @jax.jit
    def gradient(params, batch):
        def loss(params):
            dropped = translator.drop_weights(params, jax.random.key(1))
            keys = jax.random.split(jax.random.key(2), B)
            return batch_loss(
                translator, dropped, batch, bos=BOS, label_smoothing=SMOOTHING, keys=keys
            )

        return jax.value_and_grad(loss, has_aux=True)(params)

    return gradient


@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
@x64()
def test_every_option_trains_all_its_params_and_decodes_as_it_was_taught(options, batch):
    translator, params = make(**options)
    (loss, count), gradients = make_gradient(translator)(params, batch)
    assert np.isfinite(loss)
    assert count == sum(batch.target_length)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert leaf.dtype == np.float64, name
        assert np.isfinite(leaf).all(), name
        assert np.any(leaf), f"{name} is never used"

    @jax.jit
    def both(params, source, length, inputs):
        ys, weights = translator.teach(params, source, length, inputs)
        memory, state = translator.encode(params, source, length)

        def step(state, piece):
            return translator.step(params, memory, state, piece)

        _, stepped = jax.lax.scan(step, state, inputs)
        return rx.StepOutput(translator.logits(params, ys), weights), stepped

    taught, stepped = both(params, batch.source[1], batch.source_length[1], batch.target[1])
    np.testing.assert_allclose(taught.logits, stepped.logits, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(taught.attention, stepped.attention, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(taught.attention.sum(-1), 1)
    assert not np.any(taught.attention[:, batch.source_length[1] :])


@x64()
def test_loss_is_the_cross_entropy_with_smoothed_labels(batch):
    translator, params = make(tie="output")
    params = params._replace(output_bias=jax.random.normal(jax.random.key(5), (V,)))
    inputs = np.concatenate([np.full((B, 1), BOS, np.int32), batch.target[:, :-1]], axis=1)

    @jax.jit
    def both(params, batch, inputs):
        ys, _ = jax.vmap(lambda *row: translator.teach(params, *row))(*batch[:2], inputs)
        found = batch_loss(translator, params, batch, bos=BOS, label_smoothing=SMOOTHING)
        return found, translator.logits(params, ys)

    (loss, count), logits = both(params, batch, inputs)
    expected = 0.0
    for z, target, length in zip(np.array(logits), batch.target, batch.target_length, strict=True):
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        for t in range(length):
            wanted = np.full(V, SMOOTHING / V)
            wanted[target[t]] += 1 - SMOOTHING
            expected -= wanted @ log_p[t]
    # The log-sum-exp is taken in float32, and the rest in float64.
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert count == 20


@x64()
def test_a_teacher_s_share_of_the_loss(batch):
    translator, params = make()
    draw, weight = np.random.default_rng(6), 0.3
    pieces = np.stack([[draw.permutation(V)[:3] for _ in range(T)] for _ in range(B)])
    soft = Soft(draw.dirichlet(np.ones(4), (B, T))[..., :3], pieces.astype(np.int32))
    inputs = np.concatenate([np.full((B, 1), BOS, np.int32), batch.target[:, :-1]], axis=1)

    @jax.jit
    def both(params, batch, inputs):
        ys, _ = jax.vmap(lambda *row: translator.teach(params, *row))(*batch[:2], inputs)
        settings = {"label_smoothing": SMOOTHING, "teacher_weight": weight}
        found, _ = batch_loss(translator, params, batch, bos=BOS, **settings)
        return found, translator.logits(params, ys)

    found, logits = both(params, batch._replace(soft=soft), inputs)
    expected = 0.0
    for row, length in enumerate(batch.target_length):
        for t in range(length):
            z = np.array(logits[row, t])
            wanted = np.full(V, (1 - weight) * SMOOTHING / V)
            wanted[batch.target[row, t]] += (1 - weight) * (1 - SMOOTHING)
            wanted += weight * (1 - soft.probabilities[row, t].sum()) / V
            wanted[pieces[row, t]] += weight * soft.probabilities[row, t]
            np.testing.assert_allclose(wanted.sum(), 1)
            expected -= wanted @ (z - np.log(np.exp(z).sum()))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@x64()
def test_consistency_adds_the_divergence_of_two_draws_of_the_dropout(batch):
    translator, params = make(dropout=0.3)
    inputs = np.concatenate([np.full((B, 1), BOS, np.int32), batch.target[:, :-1]], axis=1)
    keys = jax.random.split(jax.random.key(2), B)

    @jax.jit
    def all_of_them(params, batch, inputs, keys):
        def loss(keys, consistency=0.0):
            return batch_loss(
                translator, params, batch, bos=BOS, consistency=consistency, keys=keys
            )[0]

        def logits(keys):
            ys, _ = jax.vmap(lambda key, *row: translator.teach(params, *row, key=key))(
                keys, *batch[:2], inputs
            )
            return translator.logits(params, ys)

        pairs = jax.vmap(jax.random.split)(keys)
        draws = pairs[:, 0], pairs[:, 1]
        return loss(keys, 3.0), [loss(draw) for draw in draws], [logits(draw) for draw in draws]

    found, alone, logits = all_of_them(params, batch, inputs, keys)
    log_p, log_q = (np.array(z) - np.log(np.exp(z).sum(-1, keepdims=True)) for z in logits)
    each = ((np.exp(log_p) - np.exp(log_q)) * (log_p - log_q)).sum(-1)  # KL both ways
    divergence = sum(
        row[:length].sum() for row, length in zip(each, batch.target_length, strict=True)
    )
    assert divergence > 0.01
    np.testing.assert_allclose(found, sum(alone) / 2 + 3 / 4 * divergence, rtol=1e-6)


@x64()
def test_rows_of_length_zero_count_nothing(batch):
    """Each row has dropout masks of its own, so that the loss is a sum over any division."""
    translator, params = make(word_dropout=0.1)
    gradient = make_gradient(translator)

    def only(rows, seed=0):
        """All but `rows` have length 0, and hold something else."""
        empty = ~np.isin(np.arange(B), rows)
        nothing = np.zeros(B, np.int32)
        other = random_batch([S] * B, [T] * B, seed=seed)
        other = other._replace(source_length=nothing, target_length=nothing)
        mixed = jax.tree.map(
            lambda mine, its: np.where(empty.reshape(-1, *[1] * (mine.ndim - 1)), its, mine),
            batch,
            other,
        )
        return gradient(params, mixed)

    whole = gradient(params, batch)
    halves = only([0, 2]), only([1, 3])
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose(a, b + c, rtol=1e-6, atol=1e-7), whole, *halves
    )
    jax.tree.map(np.testing.assert_array_equal, halves[0], only([0, 2], seed=7))
    for leaf in jax.tree.leaves(only([])):
        assert not np.any(leaf)  # NaN neither


def test_padding_and_the_rest_of_the_batch_change_no_bit(batch):
    translator, params = make(cell="gru", encoder_layers=2)
    teach = jax.jit(jax.vmap(translator.teach, in_axes=(None, 0, 0, 0)))
    inputs = batch.target
    ys, weights = teach(params, *batch[:2], inputs)
    for seed in (3, 4):
        other = random_batch([3, 5, 8, 0], [7] * 4, seed=seed)
        source, length, pieces = (np.array(x) for x in (*other[:2], other.target))
        source[1, :5], pieces[1] = batch.source[1, :5], inputs[1]
        source[1, 5:] = PAD if seed == 3 else V - 1
        found = teach(params, source, length, pieces)
        np.testing.assert_array_equal(found[0][1], ys[1])
        np.testing.assert_array_equal(found[1][1], weights[1])


@pytest.mark.parametrize("variational", [True, False])
def test_variational_dropout_draws_one_mask_a_sentence(batch, variational):
    translator, params = make(dropout=0.5, variational=variational)

    @jax.jit
    def outputs(key):
        source, length = batch.source[0], batch.source_length[0]
        ys, _ = translator.teach(params, source, length, batch.target[0], key)
        return ys == 0, translator.encode(params, source, length, key).memory.values == 0

    for dropped in outputs(jax.random.key(0)):
        assert 0 < dropped.sum() < dropped.size
        constant = (dropped == dropped[:1]).all()
        assert constant == variational
    first, second = (outputs(jax.random.key(seed))[0] for seed in (0, 1))
    assert (first != second).any()


def test_impossible_ties_are_refused():
    with pytest.raises(ValueError, match="one joint vocabulary, got 60 source and 61 target"):
        Translator(ModelConfig(**WIDTHS, tie="embeddings"), V, V + 1)
    with pytest.raises(ValueError, match="attentional == embedding, got 8 and 9"):
        Translator(ModelConfig(**(WIDTHS | {"embedding": 9}), tie="output"), V, V)
