"""What the sub-commands do beside training: evaluate, sample, compare, plot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax

from experiments.char_lm.config import TrainConfig
from experiments.char_lm.folder import RunFolder
from experiments.char_lm.held_out import HeldOut, Loss
from experiments.char_lm.sample import Sampler
from experiments.char_lm.text import encode, read_text
from experiments.char_lm.train import train
from experiments.common.errors import UserError
from experiments.common.files import write_file, write_json
from experiments.common.machine import describe, machine
from experiments.common.metrics import read_metrics
from experiments.common.plots import learning_curves
from experiments.common.tables import table

CONTEST: Mapping[str, Mapping[str, object]] = {
    "LSTM": {"cell": "lstm", "weight_dropout": 0.0},
    "GRU": {"cell": "gru", "weight_dropout": 0.0},
    "Elman": {"cell": "elman", "weight_dropout": 0.0},
    "layer-norm LSTM": {"cell": "layer_norm_lstm", "weight_dropout": 0.0},
    "weight-dropped LSTM": {"cell": "lstm", "weight_dropout": 0.3},
}
"""What is compared: changes of one model, whatever noise its preset has on the weights."""


def evaluate(folder: RunFolder, *, average: int = 1, text: Path | None = None) -> Loss:
    """Prints the exact loss on the held-out text, or on all of another text; keeps the former.

    Every letter is predicted once, after all letters before it, in one stream.

    Raises:
      UserError: no model, or a text that it cannot read.
    """
    config, alphabet, model, params = folder.load(average)
    letters = folder.corpus(config).held_out if text is None else encode(read_text(text), alphabet)
    if len(letters) < 2:
        raise UserError(f"{text} holds {len(letters)} letters; there must be at least 2.")
    loss = HeldOut(model, letters, config)(params)
    average = min(average, len(folder.checkpoints(config).best_steps()))
    mean = "best checkpoint" if average == 1 else f"mean of the {average} best checkpoints"
    print(f"{loss.nats:.4f} nats, {loss.bits:.4f} bits a letter, over {loss.letters} ({mean})")
    if text is None:
        found = {"nats": loss.nats, "bits": loss.bits, "letters": loss.letters, "average": average}
        write_json(folder.evaluation, found)
    return loss


def sample(
    folder: RunFolder,
    *,
    prompt: str,
    length: int,
    count: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    average: int,
    seed: int,
) -> None:
    """Prints `count` texts that begin with the prompt.

    Raises:
      UserError: no model, a number out of its range, a letter that the model does not know.
    """
    _, alphabet, model, params = folder.load(average)
    texts = Sampler(model, alphabet)(
        params,
        jax.random.key(seed),
        prompt,
        length=length,
        count=count,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    print("\n\n---\n\n".join(prompt + text for text in texts))


def compare(config: TrainConfig, path: Path) -> str:
    """Trains the contest's models, each in its own folder under `path`; prints and keeps a table.

    All have the same width, learning rate and schedule. Called again it goes on, or where all have
    been trained only evaluates.
    """
    rows, curves = [], []
    for name, changes in CONTEST.items():
        print(f"\n{name}", flush=True)
        changed = dataclasses.replace(config.model, **changes)  # type: ignore[arg-type]
        folder = train(
            dataclasses.replace(config, model=changed), path / name.replace(" ", "-").lower()
        )
        loss = evaluate(folder)
        entries = read_metrics(folder.path)
        seen = [e for e in entries if e.get("val_loss") is not None]  # null: it was not finite
        curves += [{"step": e["step"], name: e["val_loss"]} for e in seen]
        size = sum(leaf.size for leaf in jax.tree.leaves(folder.load()[3]))
        best = min(seen, key=lambda e: e["val_loss"])["epoch"]
        rows.append([name, f"{size:,}", f"{loss.nats:.3f}", f"{loss.bits:.3f}", f"{best}"])
    found = table(["", "parameters", "nats a letter", "bits a letter", "after epoch"], rows)
    print(f"\n{found}")
    write_file(path / "compare.md", f"{describe(machine())}\n\n{found}\n")
    learning_curves(curves, {"held-out loss (nats a letter)": [*CONTEST]}, path / "compare.png")
    return found


def plot(folder: RunFolder) -> Path:
    """Draws the learning curves; returns the file."""
    folder.config()  # an error where there is no run
    learning_curves(
        read_metrics(folder.path),
        {"loss (nats a letter)": ["loss", "val_loss"], "bits a letter": ["val_bits"]},
        folder.curves,
        title=folder.path.name,
    )
    return folder.curves
