"""Decoding: from a step function to token sequences."""

from recurrax.decode.beam import beam_search, greedy
from recurrax.decode.penalties import average, gnmt, word_reward
from recurrax.decode.records import BeamResult, ScoreResult, StepOutput, StopReason
from recurrax.decode.score import score

__all__ = [
    "BeamResult",
    "ScoreResult",
    "StepOutput",
    "StopReason",
    "average",
    "beam_search",
    "gnmt",
    "greedy",
    "score",
    "word_reward",
]
