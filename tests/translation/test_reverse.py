"""Ranking by a model of the other direction, and the other exact search."""

import jax
import numpy as np
import pytest

import recurrax as rx
from experiments.common.devices import data_mesh
from experiments.common.errors import UserError
from experiments.translation.config import DataConfig, TrainConfig
from experiments.translation.decoding import Decoding
from experiments.translation.folder import ModelFolder
from experiments.translation.reverse import Reverse
from experiments.translation.search import Search
from experiments.translation.tokenizer import EOS
from tests.translation.test_decoding import BATCH, Setting, first
from tests.translation.test_search import MODEL, padded, same

WEIGHT = 0.7


@pytest.fixture(scope="module")
def setting():
    return Setting()


@pytest.fixture(scope="module")
def folder(setting, tmp_path_factory):
    """A model of the other direction: of the same kind, with other params."""
    folder = ModelFolder(tmp_path_factory.mktemp("reverse"))
    config = TrainConfig(model=MODEL, epochs=1)
    folder.create(config, setting.vocabularies)
    params = setting.params._replace(output_bias=setting.params.output_bias[::-1] * 0.5)
    folder.checkpoints(config).save(1, {"params": params}, metric=1.0)
    return folder


def log_prob(setting, folder, source, translation):
    """log p(source | translation), alone, of any width; the translator has the setting's sizes."""
    _, vocabularies, _, params = folder.load()
    read = padded([*vocabularies.source.encode(translation), EOS], 60)
    tokens = padded([*vocabularies.target.encode(source), EOS], 60)
    return float(setting.forced(params, *read, *tokens).log_prob)


@pytest.mark.parametrize("devices", [1, 2])
def test_what_was_found_is_ranked_by_both_directions(setting, folder, devices):
    mesh = data_mesh(BATCH, jax.devices()[:devices])
    search = Search(
        setting.translator,
        setting.vocabularies,
        mesh,
        batch_size=BATCH,
        beam_size=3,
        n_best=2,
        decoding=Decoding(reverse=folder.path, patience=np.inf),
        reverse=Reverse(folder, 1, mesh),
    )
    sentences = setting.sentences[:3]  # and one row that only fills the batch
    ranked = search(setting.params, sentences, length_penalty=0.8, reverse_weight=WEIGHT)
    changed = False
    for sentence, after, before in zip(sentences, ranked, setting.find(n_best=3), strict=False):
        scores = [h.score + WEIGHT * log_prob(setting, folder, sentence, h.text) for h in before]
        cut = [h.stop != rx.StopReason.EOS for h in before]
        order = sorted(range(3), key=lambda k: (cut[k], -scores[k]))[:2]
        assert [h.pieces for h in after] == [before[k].pieces for k in order]
        np.testing.assert_allclose([h.score for h in after], [scores[k] for k in order], rtol=1e-4)
        changed |= order != [0, 1]
        # The reverse model only takes away: what was beyond reach stays so.
        assert all(h.gap >= b.gap for h, b in zip(after, before, strict=False))
    assert changed


def test_draws_are_ranked_too(setting, folder):
    mesh = data_mesh(BATCH, jax.devices()[:1])
    decoding = Decoding(reverse=folder.path, reverse_weight=WEIGHT, search="sample")
    search = Search(
        setting.translator,
        setting.vocabularies,
        mesh,
        batch_size=BATCH,
        beam_size=6,
        decoding=decoding,
        reverse=Reverse(folder, 1, mesh),
    )
    drawn = setting.find(search="sample", n_best=6, length_penalty=decoding.length_penalty)
    for sentence, (one,), before in zip(
        setting.sentences, search(setting.params, setting.sentences), drawn, strict=True
    ):
        ended = [h for h in before if h.stop == rx.StopReason.EOS] or before
        scores = [h.score + WEIGHT * log_prob(setting, folder, sentence, h.text) for h in ended]
        np.testing.assert_allclose(one.score, max(scores), rtol=1e-4)


def test_a_reverse_model_is_one_of_the_other_direction(setting, folder):
    with pytest.raises(UserError, match="rank by score, mbr by utility"):
        Decoding(reverse=folder.path, search="mbr")
    reverse = Reverse(folder, 1, data_mesh(BATCH, jax.devices()[:1]))
    with pytest.raises(UserError, match="from de to en; a reverse model must go from en to de"):
        reverse.check_turns_round(DataConfig())
    reverse.check_turns_round(DataConfig(source="en", target="de"))
    reverse.check_turns_round(DataConfig(columns=(1, 0)))
    with pytest.raises(ValueError, match="Search: decoding names None, and reverse is <"):
        Search(setting.translator, setting.vocabularies, reverse.mesh, reverse=reverse)


@pytest.mark.slow
def test_best_first_search_finds_what_exact_search_does(setting):
    plain = {"length_penalty": 0.0, "beam_size": 1}
    beam = first(setting.find(**plain))
    exact = first(setting.find(search="exact", budget=100_000, **plain))
    best = first(setting.find(search="best-first", budget=3000, **plain))
    assert any(one.proven and not before.proven for one, before in zip(best, beam, strict=True))
    assert all(one.gap <= before.gap for one, before in zip(best, beam, strict=True))
    for one, other in zip(best, exact, strict=True):
        assert other.gap == 0
        if one.gap == 0:
            same(one, other)
        else:
            assert one.score - 1e-5 <= other.score <= one.score + one.gap + 1e-5
