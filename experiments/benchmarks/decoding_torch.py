"""The translator in PyTorch, and beam search over it, as a user would write them there.

`nn.LSTM` over packed sequences, an `nn.LSTMCell` that is fed its last attentional vector, additive
attention; then a loop in Python over the steps of a batch, as fairseq and JoeyNMT have it: the
log-softmax, one `topk` over K V candidates, an `index_select` of states and tokens, and finished
sentences taken out of the batch. `B` sentences, `K` beam, `S` source length.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from experiments.common.errors import UserError
from experiments.translation.model import ModelConfig, Params
from experiments.translation.tokenizer import BOS, EOS


class Found(NamedTuple):
    """The best translation of one sentence."""

    tokens: list[int]
    """With the end token, if it ended."""
    score: float


class TorchTranslator(nn.Module):
    """`experiments.translation.model.Translator` with `params`, in PyTorch.

    Raises:
      UserError: the model is another than this file has: one layer of LSTMs each, additive
        attention, input feeding.
    """

    def __init__(self, config: ModelConfig, params: Params):
        super().__init__()
        expected = {
            "cell": "lstm",
            "attention": "additive",
            "encoder_layers": 1,
            "decoder_layers": 1,
            "input_feeding": True,
        }
        for name, value in expected.items():
            if getattr(config, name) != value:
                raise UserError(
                    f"the PyTorch peer has {name.replace('_', ' ')} {value} only; the model has "
                    f"{getattr(config, name)}."
                )
        source, target = params.source_embedding, params.target_embedding
        target = source if target is None else target
        output = target if params.output is None else params.output
        memory, hidden, feed = 2 * config.encoder, config.decoder, config.attentional
        self.source_embedding = nn.Embedding(source.shape[0], config.embedding)
        self.target_embedding = nn.Embedding(target.shape[0], config.embedding)
        self.encoder = nn.LSTM(
            config.embedding, config.encoder, bidirectional=True, batch_first=True
        )
        self.bridge = nn.Linear(memory, 2 * hidden)
        self.cell = nn.LSTMCell(config.embedding + feed, hidden)
        self.key = nn.Linear(memory, config.attention_features, bias=False)
        self.query = nn.Linear(hidden, config.attention_features, bias=False)
        self.energy = nn.Linear(config.attention_features, 1, bias=False)
        self.combine = nn.Linear(hidden + memory, feed)
        self.output = nn.Linear(feed, output.shape[0])

        scale = config.embedding**0.5
        weights: dict[str, Any] = {
            "source_embedding.weight": source * scale,
            "target_embedding.weight": target * scale,
            **_lstm("encoder.", params.encoder[0].forward, "_l0"),
            **_lstm("encoder.", params.encoder[0].backward, "_l0_reverse"),
            "bridge.weight": params.bridge[0].w.T,
            "bridge.bias": params.bridge[0].b,
            **_lstm("cell.", params.decoder[0]),
            "key.weight": params.attention.w_key.T,
            "query.weight": params.attention.w_query.T,
            "energy.weight": params.attention.v[None],
            "combine.weight": params.combine.w.T,
            "combine.bias": params.combine.b,
            "output.weight": output,
            "output.bias": params.output_bias,
        }
        self.load_state_dict({n: torch.from_numpy(np.array(w)) for n, w in weights.items()})
        self.eval()

    def encode(self, source: torch.Tensor, lengths: torch.Tensor):
        """`(keys [B, S, A], values [B, S, M], mask [B, S], (h, c))` of `source` [B, S]."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.source_embedding(source), lengths, batch_first=True, enforce_sorted=False
        )
        packed, (last, _) = self.encoder(packed)
        values, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
        mask = torch.arange(values.shape[1]) < lengths[:, None]
        c, h = torch.tanh(self.bridge(torch.cat([last[0], last[1]], -1))).chunk(2, -1)
        return self.key(values), values, mask, (h, c)

    def decode(self, tokens, feed, hidden, keys, values, mask):
        """One step of every row: `(logits [rows, V], feed, (h, c))`."""
        h, c = self.cell(torch.cat([self.target_embedding(tokens), feed], -1), hidden)
        scores = self.energy(torch.tanh(keys + self.query(h)[:, None])).squeeze(-1)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        context = torch.bmm(weights[:, None], values).squeeze(1)
        feed = torch.tanh(self.combine(torch.cat([h, context], -1)))
        return self.output(feed), feed, (h, c)


def _lstm(prefix: str, params: Any, suffix: str = "") -> dict[str, Any]:
    """It keeps two biases, whose sum is ours."""
    return {
        f"{prefix}weight_ih{suffix}": params.w_x.T,
        f"{prefix}weight_hh{suffix}": params.w_h.T,
        f"{prefix}bias_ih{suffix}": params.b,
        f"{prefix}bias_hh{suffix}": np.zeros_like(params.b),
    }


def use_threads() -> None:
    """As many as this process has cores."""
    if hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))


@torch.inference_mode()
def beam_search(
    model: TorchTranslator,
    source: np.ndarray,
    lengths: np.ndarray,
    limits: np.ndarray,
    *,
    beam_size: int,
    length_penalty: float,
) -> list[Found]:
    """The best translation of each sentence of `source` [B, S].

    A sentence is done where K hypotheses have ended, which leave the beam to others, or at its
    limit. The score is the log-probability over ((5 + length) / 6)^alpha.
    """
    batch, width = len(lengths), beam_size
    keys, values, mask, (h, c) = (
        model.encode(torch.from_numpy(source).long(), torch.from_numpy(lengths).long())
    )  # fmt: skip
    keys, values, mask, h, c = (x.repeat_interleave(width, 0) for x in (keys, values, mask, h, c))
    feed = torch.zeros(batch * width, model.combine.out_features)
    tokens = torch.full((batch * width, 1), BOS)
    totals = torch.full((batch, width), -torch.inf)
    totals[:, 0] = 0
    alive = list(range(batch))
    ended: list[list[Found]] = [[] for _ in range(batch)]
    steps = 0
    while alive:
        steps += 1
        penalty = ((5 + steps) / 6) ** length_penalty
        logits, feed, (h, c) = model.decode(tokens[:, -1], feed, (h, c), keys, values, mask)
        log_probs = logits.log_softmax(-1)
        size = log_probs.shape[-1]
        candidates = (log_probs.view(len(alive), width, size) + totals[..., None]).flatten(1)
        # Of 2 K at most K end, so that K go on.
        best, places = candidates.topk(2 * width)
        parents = places.div(size, rounding_mode="floor")
        words = places % size
        ends = words.eq(EOS)
        for row, rank in (ends[:, :width] & best[:, :width].isfinite()).nonzero().tolist():
            prefix = tokens[row * width + int(parents[row, rank]), 1:].tolist()
            score = float(best[row, rank]) / penalty
            ended[alive[row]].append(Found([*prefix, EOS], score))
        totals, chosen = best.masked_fill(ends, -torch.inf).topk(width)
        rows = torch.arange(len(alive))[:, None] * width + parents.gather(1, chosen)
        rows, words = rows.flatten(), words.gather(1, chosen).flatten()
        tokens = torch.cat([tokens.index_select(0, rows), words[:, None]], 1)
        feed, h, c = (x.index_select(0, rows) for x in (feed, h, c))

        going = []
        for row, sentence in enumerate(alive):
            if steps == limits[sentence] and not ended[sentence]:
                cut = tokens[row * width, 1:].tolist()
                ended[sentence].append(Found(cut, float(totals[row, 0]) / penalty))
            elif steps < limits[sentence] and len(ended[sentence]) < width:
                going.append(row)
        if len(going) < len(alive):
            kept = torch.tensor(going, dtype=torch.long)
            totals = totals.index_select(0, kept)
            kept = (kept[:, None] * width + torch.arange(width)).flatten()
            tokens, feed, h, c, keys, values, mask = (
                x.index_select(0, kept) for x in (tokens, feed, h, c, keys, values, mask)
            )
            alive = [alive[row] for row in going]
    return [max(found, key=lambda one: one.score) for found in ended]
