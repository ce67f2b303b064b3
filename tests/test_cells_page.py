"""docs/cells.md says what the docstrings say, and a docstring that says too little is named."""

import re

import pytest

import recurrax as rx
from experiments import cells_page
from experiments.cells_page import FAMILIES, PAGE, entry, exported, page
from experiments.common.errors import UserError


def test_the_page_is_what_the_docstrings_say():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "docs/cells.md is out of date: python -m experiments.cells_page writes it."
    )


def test_every_cell_is_on_it_once():
    headings = re.findall(r"^### (\w+)$", page(), re.MULTILINE)
    assert sorted(headings) == sorted(exported())
    assert headings == [name for names in FAMILIES.values() for name in names]
    assert set(headings) > {"elman", "lstm", "gru", "s5"}
    assert "dense" not in headings
    for name, factory in exported().items():
        assert getattr(rx, name) is factory


def test_an_entry_has_the_line_the_equations_and_the_paper():
    lines = entry("lstm", rx.lstm).split("\n")
    assert "Long short-term memory with a forget gate." in lines
    assert "h_t = sigmoid(o) * tanh(c_t),    y_t = h_t" in lines
    assert lines[-1] == (
        "Hochreiter and Schmidhuber, 1997; Gers et al., 2000. [lstm.py](../recurrax/cells/lstm.py)"
    )


def test_the_sentence_around_the_equations_comes_with_them():
    parts = entry("cell", _around).split("\n\n")  # pyright: ignore[reportArgumentType]
    assert parts[1:5] == [
        "A cell of two lines.",
        "In layer l:",
        "```\nh = x\ny = h\n```",
        "where x is the input.",
    ]


@pytest.mark.parametrize(
    ("docstring", "words"),
    [
        (None, "cite a paper"),
        ("A cell of nobody.\n\n    h = x\n\nArgs:", "cite a paper"),
        ("A cell (of 3 lines).\n\n    h = x", "cite a paper"),
        ("A cell (Nobody, 1990).\n\nMore.", "equations"),
        ("A cell (Nobody, 1990).\n\nArgs:\n  x: 1.\n\n    h = x", "equations"),
    ],
)
def test_a_docstring_without_the_form_is_named(docstring, words):
    def factory():
        raise NotImplementedError

    factory.__doc__ = docstring
    with pytest.raises(UserError, match=rf"^mute: .*{words}"):
        entry("mute", factory)


def test_a_cell_in_no_family_is_named():
    with pytest.raises(UserError, match="new_cell is in no family"):
        page({**exported(), "new_cell": rx.lstm})
    fewer = {name: factory for name, factory in exported().items() if name != "gru"}
    with pytest.raises(UserError, match="lists gru, which is no"):
        page(fewer)


def test_the_command_writes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cells_page, "PAGE", tmp_path / "docs" / "cells.md")
    cells_page.main()
    assert (tmp_path / "docs" / "cells.md").read_text(encoding="utf-8") == page()
    assert capsys.readouterr().out.strip().endswith("cells.md")


def _around():
    """A cell of two lines (Nobody, 1990).

    In layer l:

        h = x
        y = h

    where x is the input. The state is h.

    Args:
      none.
    """
