"""Training state on disk, exact to the bit: the latest, the best, and averages of several.

    checkpoints = Checkpoints(folder, keep_latest=2, keep_best=3)
    state = {"params": params, "opt_state": opt_state, "key": key, "step": step}
    checkpoints.save(step, state, data=iterator_position, metric=bleu)
    saved = checkpoints.restore_latest(state)                     # None in a new folder
    params = checkpoints.restore_best(params, part="params").state
    params = checkpoints.average(params, best=3, part="params").state

One folder a checkpoint: orbax writes the leaves of the state by their paths, and `info.json` holds
the rest and the size and checksum of every file. It is written under a temporary name, renamed when
complete, and only then are older ones removed: a process killed while it saves, or a full disk,
costs the new checkpoint and never an earlier one.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.common.checkpoint_files import (
    check_content,
    read_arrays,
    read_info,
    write_checkpoint,
)
from experiments.common.errors import UserError, one_line, warn
from experiments.common.leaves import (
    check_leaves,
    mean_leaf,
    name_leaves,
    place_leaf,
    signature,
    to_numpy,
)

_SAVING = ".saving-"


class Restored(NamedTuple):
    """A checkpoint that was read: the state as the template's pytree, and what lay beside it."""

    step: int
    state: Any
    data: Any
    metric: float | None


class Checkpoints:
    """The checkpoints in one folder.

    Args:
      directory: the folder; made by the first `save`.
      keep_latest: how many of the newest to keep, at least 1. With 2 or more, one that was damaged
        later on can be replaced by the one before it.
      keep_best: how many of the best by metric to keep besides.
      higher_is_better: whether a high metric is good (BLEU) or a low one (loss). Of equal ones the
        earliest is the best; nan is the worst.

    Raises:
      ValueError: `keep_latest` is below 1 or `keep_best` is negative.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep_latest: int = 2,
        keep_best: int = 1,
        higher_is_better: bool = True,
    ):
        if keep_latest < 1 or keep_best < 0:
            raise ValueError(
                f"Checkpoints: keep_latest must be at least 1 and keep_best at least 0; got "
                f"{keep_latest} and {keep_best}."
            )
        self.directory = Path(directory)
        self._keep_latest, self._keep_best = keep_latest, keep_best
        self._sign = -1.0 if higher_is_better else 1.0

    def steps(self) -> list[int]:
        """Steps of the checkpoints, oldest first; damaged ones are among them."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def best_steps(self) -> list[int]:
        """Steps of the readable checkpoints that have a metric, best first."""
        ranked = []
        for step in self.steps():
            with contextlib.suppress(UserError):
                metric = read_info(self._path(step))["metric"]
                if metric is not None:
                    ranked.append((math.inf if math.isnan(metric) else self._sign * metric, step))
        return [step for _, step in sorted(ranked)]

    def save(self, step: int, state: Any, *, data: Any = None, metric: float | None = None) -> None:
        """Saves `state` as the checkpoint of `step`, then removes the ones no longer to be kept.

        Args:
          step: a number that grows during training; an equal one is replaced.
          state: any pytree of arrays, typed PRNG keys and Python numbers.
          data: anything that JSON holds, such as the position of a data iterator.
          metric: what `restore_best` goes by; None keeps this checkpoint out of that.

        Raises:
          UserError: it cannot be written; the earlier checkpoints are as they were.
          TypeError: `data` is nothing that JSON holds.
        """
        json.dumps(data)  # before anything is written: what is no JSON is the caller's mistake
        info = {"step": step, "metric": None if metric is None else float(metric), "data": data}
        leaves = name_leaves(state)
        info["leaves"] = {name: signature(leaf) for name, leaf in leaves.items()}
        arrays = {name: to_numpy(leaf) for name, leaf in leaves.items()}
        part, final = self.directory / f"{_SAVING}{step}", self._path(step)
        old = self.directory / f"{_SAVING}{step}-old"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(f"{_SAVING}*"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            write_checkpoint(part, arrays, info)
            if final.exists():  # out of the way in one stroke, then removed at leisure
                os.rename(final, old)
            os.rename(part, final)
            shutil.rmtree(old, ignore_errors=True)
        except Exception as error:
            shutil.rmtree(part, ignore_errors=True)
            if old.exists() and not final.exists():
                os.rename(old, final)
            raise UserError(
                f"cannot save the checkpoint of step {step} in {self.directory}: "
                f"{_why(error)}; earlier checkpoints are untouched."
            ) from error
        self._remove_old()

    def restore_latest(self, template: Any, *, part: str = "") -> Restored | None:
        """Reads the newest checkpoint, or the newest that is intact, with a warning.

        Args:
          template: what was saved: its structure, and each leaf's shape, dtype and placement
            (arrays or `jax.ShapeDtypeStruct`s).
          part: the name of the entry of the saved state that `template` is; all of it unless given.

        Returns:
          What was read; None where nothing was saved yet.

        Raises:
          UserError: every checkpoint is damaged, or they do not fit the template.
        """
        steps = self.steps()[::-1]
        return next(self._intact(steps, template, part)) if steps else None

    def restore_best(self, template: Any, *, part: str = "") -> Restored:
        """Reads the checkpoint with the best metric; otherwise as `restore_latest`.

        Raises:
          UserError: also where no checkpoint has a metric.
        """
        return next(self._intact(self._required(self.best_steps()), template, part))

    def average(
        self, template: Any, *, last: int | None = None, best: int | None = None, part: str = ""
    ) -> Restored:
        """Means, leaf by leaf, of the `last` newest or the `best` best checkpoints.

        Sums in float64; leaves of other than floating dtypes come from the first of them, as do
        the step, data and metric. Takes as many as there are where there are fewer, with a warning.

        Raises:
          ValueError: not exactly one of `last` and `best` is given, or it is below 1.
          UserError: as for `restore_latest` and `restore_best`, or nothing was saved yet.
        """
        count = best if last is None else last
        if (last is None) == (best is None) or count is None or count < 1:
            raise ValueError(
                f"Checkpoints.average: exactly one of last and best must be given, and be at "
                f"least 1; got last={last}, best={best}."
            )
        steps = self.best_steps() if last is None else self.steps()[::-1]
        found = [*itertools.islice(self._intact(self._required(steps), template, part), count)]
        if len(found) < count:
            warn(f"{count} checkpoints were to be averaged, and {self.directory} has {len(found)}.")
        return found[0]._replace(state=jax.tree.map(mean_leaf, *[r.state for r in found]))

    def _required(self, steps: list[int]) -> list[int]:
        if not steps:
            raise UserError(f"there is no checkpoint to choose from in {self.directory}.")
        return steps

    def _path(self, step: int) -> Path:
        return self.directory / f"{step:08d}"

    def _intact(self, steps: list[int], template: Any, part: str) -> Iterator[Restored]:
        """Reads `steps` in order, passing over damaged ones with a warning; none left: an error."""
        complaint, found = None, False
        for step in steps:
            try:
                info = read_info(self._path(step))
                check_content(self._path(step), info)
            except UserError as error:
                complaint = error
                warn(f"{one_line(error)} Passing over it.")
                continue
            found = True
            state = _fit(self._path(step), info, template, part)
            yield Restored(step, state, info["data"], info["metric"])
        if not found:
            raise UserError(f"no intact checkpoint is left in {self.directory}.") from complaint

    def _remove_old(self) -> None:
        """Removes what is neither new nor good, and what is damaged."""
        intact = []
        for step in self.steps():
            with contextlib.suppress(UserError):
                read_info(self._path(step))
                intact.append(step)
        kept = {*intact[-self._keep_latest :], *self.best_steps()[: self._keep_best]}
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self._path(step), ignore_errors=True)


def _fit(path: Path, info: dict[str, Any], template: Any, part: str) -> Any:
    """The arrays in `path` as the pytree, dtypes and devices of `template`."""
    wanted = name_leaves(template, part)
    saved = info["leaves"]
    if part:
        saved = {n: saved[n] for n in saved if n == part or n.startswith(f"{part}/")}
    check_leaves(saved, wanted, str(path))
    arrays = read_arrays(path, info)
    leaves = [place_leaf(arrays[name], leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _why(error: BaseException) -> str:
    """The reason in a few words; orbax wraps the system's in pages."""
    text = one_line(error)
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
        if os.strerror(code) in text or (isinstance(error, OSError) and error.errno == code):
            return os.strerror(code).lower()
    return f"{type(error).__name__}: {text[:200]}"
