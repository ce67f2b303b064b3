"""Sentences to pieces and back: byte-pair encoding (Sennrich et al., 2016) by sentencepiece.

Trained in memory and on the training split alone; the model is a `bytes` that a checkpoint holds.
Nothing is lower-cased or normalised, except that each run of white space counts as one blank:

    decode(encode(text)) == " ".join(text.split())

for text whose characters all occur in the training split (an unseen one becomes the piece UNK and
is written " ⁇ "; with `byte_fallback` it becomes its bytes and comes back) and that does not hold
U+2581, sentencepiece's own mark of a blank.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sentencepiece

from experiments.common.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
BLANK = "\u2581"


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A trained vocabulary; equal to another one if its model is, and cheap to pickle."""

    model: bytes = dataclasses.field(repr=False)

    @functools.cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        try:
            # b"" would count as "no model given" and load nothing.
            return sentencepiece.SentencePieceProcessor(model_proto=self.model or b"\0")
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"not a sentencepiece model, or one cut short ({len(self.model)} bytes)."
            ) from error

    @property
    def size(self) -> int:
        """V: the number of pieces, PAD, UNK, BOS and EOS among them."""
        return self._processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """The pieces of a sentence, without BOS or EOS."""
        return self._processor.encode(" ".join(text.split()))

    def encode_all(
        self, texts: Iterable[str], *, dropout: float = 0.0, seed: int = 0
    ) -> list[list[int]]:
        """`encode` of each; with BPE-dropout (Provilkov et al., 2020) other pieces for each seed.

        Args:
          dropout: the probability that a merge is skipped, in [0, 1).
          seed: decides, with the texts and their order, which ones are skipped.

        Raises:
          UserError: `dropout` is outside [0, 1).
        """
        if not 0 <= dropout < 1:
            raise UserError(f"BPE-dropout must be in [0, 1); got {dropout}.")
        clean = [" ".join(text.split()) for text in texts]
        if not dropout:
            return self._processor.encode(clean)
        # sentencepiece draws from one generator a thread, so a second thread would make it a race;
        # and 2**32 - 1 means "from the clock" to it.
        sentencepiece.set_random_generator_seed(seed % (2**32 - 1))
        return self._processor.encode(
            clean, enable_sampling=True, nbest_size=-1, alpha=dropout, num_threads=1
        )

    def decode(self, pieces: Sequence[int]) -> str:
        """The sentence of pieces; PAD, BOS and EOS leave no trace."""
        return self._processor.decode([int(piece) for piece in pieces])

    def labels(self, pieces: Sequence[int]) -> list[str]:
        """Each piece as text, for plots: "▁" where a word begins, "</s>" for EOS."""
        return [self._processor.id_to_piece(int(piece)) for piece in pieces]

    def surfaces(self, text: str) -> list[str]:
        """The pieces of a sentence as text; unlike in `labels`, what is unknown stays as it is."""
        return self._processor.encode(" ".join(text.split()), out_type=str)


class Vocabularies(NamedTuple):
    """The two sides' tokenizers: one and the same where the vocabulary is joint."""

    source: Tokenizer
    target: Tokenizer


def train_vocabularies(
    pairs: Sequence[tuple[str, str]], size: int, *, joint: bool = True, byte_fallback: bool = False
) -> Vocabularies:
    """Tokenizers for both sides of the training pairs, with `size` pieces each, or together.

    Raises:
      UserError: as `train_tokenizer` does.
    """
    sources, targets = zip(*pairs, strict=True) if pairs else ((), ())
    if joint:
        both = train_tokenizer(sources + targets, size, byte_fallback=byte_fallback)
        return Vocabularies(both, both)
    return Vocabularies(
        *(train_tokenizer(side, size, byte_fallback=byte_fallback) for side in (sources, targets))
    )


def train_tokenizer(texts: Iterable[str], size: int, *, byte_fallback: bool = False) -> Tokenizer:
    """Learns `size` pieces from `texts`; every character in them becomes a piece.

    Args:
      byte_fallback: adds the 256 bytes as pieces, so that no character is ever lost.

    Raises:
      UserError: no text, or `size` is too small for its characters or more than it can be merged
        into; the message says which sizes are possible.
    """
    clean = [" ".join(text.split()) for text in texts]
    if not any(clean):
        raise UserError("a vocabulary needs sentences to learn from; there are none.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(clean),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            byte_fallback=byte_fallback,
            normalization_rule_name="identity",
            max_sentence_length=max(4192, *(len(text.encode()) + 1 for text in clean)),
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise UserError(_explain(str(error), size)) from error
    return Tokenizer(model.getvalue())


def _explain(message: str, size: int) -> str:
    """sentencepiece's reason, in terms of ours."""
    if found := re.search(r"too high.*<= (\d+)", message):
        return (
            f"a vocabulary of {size} pieces is more than these sentences can be merged into; "
            f"ask for at most {found[1]}."
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"a vocabulary of {size} pieces has no room for the characters of these sentences; "
            f"ask for at least {found[1]}."
        )
    return f"sentencepiece cannot learn a vocabulary of {size} pieces: {message}"
