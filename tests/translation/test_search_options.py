"""Options of a search that change its speed or how it is written down, and not what it finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrax as rx
from experiments.common.devices import data_mesh
from experiments.common.errors import UserError
from experiments.translation.decoding import Decoding
from experiments.translation.search import Search
from experiments.translation.tokenizer import EOS, UNK
from tests.translation.test_decoding import BATCH, PENALTY, Setting, first
from tests.translation.test_search import padded, same


@pytest.fixture(scope="module")
def setting():
    return Setting()


@pytest.mark.parametrize("beam_size", [3, 0])
def test_a_queue_changes_nothing(setting, beam_size):
    """Four slots on two devices, in a block of eight and one that is half empty."""
    words = max(setting.sentences, key=len).split()
    turned = [" ".join(words[n:] + words[:n]) for n in range(len(words))]
    # The longest first: all batches have one width, and so there is one program.
    sentences = [*turned[:9], min(setting.sentences, key=len)]
    plain, queued = (
        Search(
            setting.translator,
            setting.vocabularies,
            data_mesh(4, jax.devices()[:2]),
            batch_size=4,
            beam_size=beam_size,
            decoding=Decoding(queue=queue, length_penalty=PENALTY, no_repeat=3),
        )(setting.params, sentences)
        for queue in (1, 2)
    )
    assert len({len(one.pieces) for (one,) in plain}) > 1
    for one, other in zip(first(plain), first(queued), strict=True):
        same(one, other)


def test_bfloat16_rounds_the_products_and_leaves_the_scores(setting):
    plain, rounded = first(setting.find()), first(setting.find(precision="bfloat16"))
    differences = [abs(a.score - b.score) for a, b in zip(plain, rounded, strict=True)]
    assert 1e-5 < max(differences) < 0.3

    for sentence, one in zip(setting.sentences, rounded, strict=True):
        source = padded([*setting.vocabularies.source.encode(sentence), EOS], 24)
        tokens = padded(one.pieces + [EOS] * (one.stop == rx.StopReason.EOS), 58)
        exact = float(setting.forced(setting.params, *source, *tokens).log_prob)
        assert one.log_prob == pytest.approx(exact, abs=0.3)
        assert one.log_prob != np.float32(one.log_prob).astype(jnp.bfloat16)  # not rounded itself


def test_an_unknown_piece_becomes_what_was_looked_at(setting):
    """With a model that writes little else, and a source that has a character of its own."""
    source = [f"{setting.sentences[0]} 漢", *setting.sentences[1:]]
    likely = setting.params.output_bias.at[UNK].set(9.0)
    params = setting.params._replace(output_bias=likely)
    options = {"max_ratio": 1.0, "length_penalty": PENALTY}
    plain = setting.made(Decoding(**options))(params, source)
    replaced = setting.made(Decoding(replace_unknown=True, **options))(params, source)
    marks = 0
    for sentence, before, after in zip(source, first(plain), first(replaced), strict=True):
        assert after.pieces == before.pieces
        surfaces = setting.vocabularies.source.surfaces(sentence)
        assert "".join(surfaces).replace("▁", " ").strip() == " ".join(sentence.split())
        expected = [
            surfaces[row[: len(surfaces)].argmax()] if piece == UNK else label
            for piece, row, label in zip(
                before.pieces,
                before.attention,
                setting.vocabularies.target.labels(before.pieces),
                strict=False,
            )
        ]
        assert after.text == "".join(expected).replace("▁", " ").strip()
        marks += before.text.count("⁇")
        assert "⁇" not in after.text
    assert marks > BATCH
    known = setting.made(Decoding(replace_unknown=True, patience=np.inf))
    for one, other in zip(
        first(known(setting.params, setting.sentences)), first(setting.find()), strict=True
    ):
        assert UNK in one.pieces or one.text == other.text


def test_a_queue_is_for_beams():
    with pytest.raises(UserError, match="a queue is for beam and greedy search; the"):
        Decoding(queue=2, search="sample")
    with pytest.raises(UserError, match=r"the queue must be from 1 to .*; got 0"):
        Decoding(queue=0)
