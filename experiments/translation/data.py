"""The sentences of a run: the generated corpus, or files that the user names."""

from __future__ import annotations

from experiments.common.errors import UserError, warn
from experiments.translation.config import DataConfig
from experiments.translation.text import Pair, read_parallel


def load_data(config: DataConfig) -> dict[str, list[Pair]]:
    """`train`, `val` and every `test*`.

    Raises:
      UserError: the files are missing or broken; it says which, and where.
    """
    if config.path is None:
        from experiments.translation.corpus import generate

        if {config.source, config.target} != {"de", "en"}:
            raise UserError(
                f"the generated corpus is in de and en; got source {config.source!r} and target "
                f"{config.target!r}."
            )
        return generate(source=config.source)
    splits = read_parallel(config.path, config.source, config.target, columns=config.columns)
    for name, split in splits.items():
        if split.dropped:
            warn(f"{config.path}: {split.dropped} pairs of {name} have an empty side; left out.")
    return {name: split.pairs for name, split in splits.items()}
