"""Decoding: from a step function to token sequences."""

from recurrax.decode.beam import beam_search, greedy
from recurrax.decode.penalties import average, gnmt, word_reward
from recurrax.decode.processors import (
    Processor,
    bias,
    frequency_penalty,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    processed,
    repetition_penalty,
    temperature,
)
from recurrax.decode.records import BeamResult, ScoreResult, StepOutput, StopReason
from recurrax.decode.sampling import sample
from recurrax.decode.score import score

__all__ = [
    "BeamResult",
    "Processor",
    "ScoreResult",
    "StepOutput",
    "StopReason",
    "average",
    "beam_search",
    "bias",
    "frequency_penalty",
    "gnmt",
    "greedy",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "processed",
    "repetition_penalty",
    "sample",
    "score",
    "temperature",
    "word_reward",
]
