"""Connectionist temporal classification: its loss, and the labels of the best path.

A network gives every frame a distribution over V labels, one of which is the blank. An alignment is
one label for each frame; it spells the labeling that is left when equal neighbours are merged and
then the blanks are removed. A labeling is as likely as all its alignments together (Graves et al.
2006). `ctc_beam_search` looks for the likeliest labelings, `ctc_greedy` takes the likeliest
alignment.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from recurrax.decode import checks
from recurrax.decode.packing import packed

_NEVER = -1e30  # a log-probability that many frames can add up, and that no alignment has


class CTCResult(NamedTuple):
    """Labelings of one example, best first."""

    tokens: jax.Array
    """[N, L] int32 without blanks; filled up with the blank."""
    lengths: jax.Array
    """[N] int32, the number of labels; 0 is the empty labeling."""
    scores: jax.Array
    """[N] what the rows are sorted by: `log_probs`, with language model and reward added. -inf in a
    row without a labeling."""
    log_probs: jax.Array
    """[N] log-probability of the alignments that were found: all of the labeling's, where nothing
    is missing."""
    missing: jax.Array
    """[] the probability of all alignments that the search dropped, up to rounding."""
    proven: jax.Array
    """[N] bool, whether this row and those before it are certainly the best labelings, even if all
    that is missing belonged to another one (to the rounding of the scores)."""


def ctc_loss(
    logits: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    length: int | jax.Array | None = None,
    label_length: int | jax.Array | None = None,
    blank: int = 0,
) -> jax.Array:
    """-log p(labels | logits), over all alignments, for one example: `optax.ctc_loss`.

    What the padding holds, NaN too, changes neither the loss nor its gradient. The loss is inf, and
    its gradient zero, where no alignment is possible: the labels do not fit into the frames (each
    needs one, and one more between two equal ones), or logits of -inf forbid all that do. It is NaN
    where a label is the blank or outside the vocabulary.

    Args:
      logits: [T, V], not necessarily normalised; T and V at least 1.
      labels: [L] integers without blanks; L at least 1.
      length: the number of frames that count; all if None. Traced.
      label_length: the number of labels that count; all if None. Traced.
      blank: the index of the blank.

    Raises:
      ValueError, TypeError: an argument out of its range or of a wrong shape, while tracing.
    """
    import optax  # who does not train with it does not load it

    name = "ctc_loss"
    logits, frames, blank = frames_of(name, logits, length, blank)
    labels = jnp.asarray(labels)
    if labels.ndim != 1 or labels.shape[0] < 1:
        raise ValueError(
            f"{name}: labels must have shape [L] with L > 0 for one example, got {labels.shape}. "
            "Use jax.vmap for the batch, and label_length=0 for no labels"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name}: labels must be integers, got {labels.dtype}")
    size = labels.shape[0]
    count = checks.scalar(
        name, "label_length", size if label_length is None else label_length, low=0, high=size
    )
    counted = jnp.arange(size) < count
    valid = jnp.arange(logits.shape[0]) < frames
    logits = jnp.where(valid[:, None], logits, 0)
    forbidden = (logits == -jnp.inf).all(1).any()
    loss = optax.ctc_loss(
        jnp.where(logits == -jnp.inf, _NEVER, logits)[None],
        (1 - valid.astype(logits.dtype))[None],
        jnp.where(counted, labels, blank)[None],
        (1 - counted.astype(logits.dtype))[None],
        blank_id=int(blank),
        log_epsilon=_NEVER,
    )[0]
    wrong = counted & ((labels < 0) | (labels >= logits.shape[1]) | (labels == blank))
    loss = jnp.where(forbidden | (loss >= -_NEVER / 2), jnp.inf, loss)
    return jnp.where(wrong.any(), jnp.nan, loss)


def ctc_greedy(
    logits: jax.typing.ArrayLike, *, length: int | jax.Array | None = None, blank: int = 0
) -> CTCResult:
    """The labeling of the likeliest alignment, for one example (Graves et al. 2006).

    It is not always the likeliest labeling: `log_probs` is that of the one alignment, and the row
    is proven where that is at least one half. Of equal labels in a frame, the lower one.

    Args:
      logits: [T, V], not necessarily normalised; T and V at least 1.
      length: the number of frames that count; all if None. Traced.
      blank: the index of the blank.

    Returns:
      A `CTCResult` of one row, L = T.

    Raises:
      ValueError, TypeError: an argument out of its range or of a wrong shape, while tracing.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> best = jnp.array([1, 1, 0, 1, 2, 2, 0])
    >>> print(rx.ctc_greedy(jnp.log(jnp.eye(3)[best])).tokens)
    [[1 1 2 0 0 0 0]]
    """
    logits, frames, blank = frames_of("ctc_greedy", logits, length, blank)
    size = logits.shape[0]
    valid = jnp.arange(size) < frames
    path = jnp.argmax(logits, 1).astype(jnp.int32)
    before = jnp.concatenate([jnp.full(1, blank, jnp.int32), path[:-1]])
    tokens, count = packed(path, valid & (path != blank) & (path != before), size, blank)
    total = jnp.where(valid, jax.nn.log_softmax(logits).max(1), 0).sum()
    missing = -jnp.expm1(total)
    return CTCResult(
        tokens[None], count[None], total[None], total[None], missing, (total >= jnp.log(0.5))[None]
    )


def frames_of(
    function: str, logits: jax.typing.ArrayLike, length: int | jax.Array | None, blank: int
) -> tuple[jax.Array, jax.Array, int]:
    """The logits, at least float32, the number of frames that count, and the blank, checked."""
    logits = jnp.asarray(logits)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(
            f"{function}: logits must have shape [T, V] with T and V > 0 for one example, got "
            f"{logits.shape}. Use jax.vmap for the batch, and length=0 for no frames"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"{function}: logits must be floating, got {logits.dtype}")
    size, vocabulary = logits.shape
    frames = checks.scalar(function, "length", size if length is None else length, low=0, high=size)
    checks.scalar(function, "blank", blank, low=0, high=vocabulary - 1)
    if isinstance(blank, Tracer):
        raise TypeError(f"{function}: blank is a part of the program, so it must be a Python int")
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), frames, int(blank)
