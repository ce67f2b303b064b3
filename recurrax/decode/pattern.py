"""Regular expressions over tokens, as automata.

An expression's derivative after a token is the expression of all that may still follow
(Brzozowski 1964); the different derivatives are the states. They are nested tuples here, written in
one normal form, so that equal ones are found equal and their number is finite.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from recurrax.decode.automaton import Automaton, explored

Expression = tuple[Any, ...]

NOTHING: Expression = ("nothing",)
EMPTY: Expression = ("empty",)
_PARTS = re.compile(r"[()|*+?.\[\]^]|[^\s()|*+?.\[\]^]+")


def pattern(text: str, names: Mapping[str, int] | None = None) -> Automaton:
    """Accepts what the regular expression `text` matches as a whole.

    Tokens stand apart by spaces: `a b` is one after the other, `a | b` either, `a*` any number,
    `a+` at least one, `a?` at most one, `.` any token, `[a b]` one of these, `[^ a b]` any but
    these, with parentheses as usual. The end token is no part of it.

    Args:
      text: the expression; a token is its number, or its name.
      names: the numbers of the names.

    Raises:
      ValueError: not an expression, or an unknown name; an expression that nothing matches, or one
        of so many tokens that Python's limit of recursion ends it: about a thousand go.

    >>> import recurrax as rx
    >>> dates = rx.decode.pattern("day+ (month year?)?", {"day": 4, "month": 5, "year": 6})
    >>> print(dates.tokens.shape, dates.accepting)
    (4, 2) [False  True  True  True]
    """
    parts = _PARTS.findall(text)
    try:
        return _compiled(text, parts, names or {})
    except RecursionError as error:
        raise ValueError(
            f"pattern: expected an expression that Python's recursion limit of "
            f"{sys.getrecursionlimit()} allows, got one of {len(parts)} parts"
        ) from error


def _compiled(text: str, parts: list[str], names: Mapping[str, int]) -> Automaton:
    whole, rest = _either(parts, names)
    if rest:
        raise ValueError(f"pattern: did not expect {rest[0]!r} in {text!r}")
    if whole == NOTHING:
        raise ValueError(f"pattern: nothing matches {text!r}")

    def leave(expression):
        after = {token: _derivative(expression, token) for token in sorted(_tokens(expression))}
        named = {token: None if way == NOTHING else way for token, way in after.items()}
        other = _derivative(expression, None)  # a token that the expression does not name
        return named, None if other == NOTHING else other

    return explored(whole, leave, _matches_empty)


def _either(parts: list[str], names: Mapping[str, int]) -> tuple[Expression, list[str]]:
    """The expression that `parts` begin with, and the parts after it."""
    options, row = set(), []
    while parts and parts[0] != ")":
        head, *parts = parts
        if head == "|":
            options.add(_joined(row))
            row = []
        elif head in ("*", "+", "?"):
            if not row:
                raise ValueError(f"pattern: nothing stands before {head!r}")
            last = row.pop()
            many = _star(last)
            row.append({"*": many, "+": _then(last, many), "?": _or({last, EMPTY})}[head])
        elif head == "(":
            inner, parts = _either(parts, names)
            if not parts:
                raise ValueError("pattern: '(' without ')'")
            row.append(inner)
            parts = parts[1:]
        elif head == "[":
            if "]" not in parts:
                raise ValueError("pattern: '[' without ']'")
            end = parts.index("]")
            negated = parts[0] == "^"
            row.append(_one(parts[negated:end], negated, names))
            parts = parts[end + 1 :]
        else:
            row.append(_one([], True, names) if head == "." else _one([head], False, names))
    return _or(options | {_joined(row)}), parts


def _one(words: list[str], negated: bool, names: Mapping[str, int]) -> Expression:
    """One token, out of a set or of all others."""
    tokens = set()
    for word in words:
        if word not in names and not (word.isascii() and word.isdigit()):
            raise ValueError(f"pattern: expected a token's number or name, got {word!r}")
        tokens.add(names[word] if word in names else int(word))
    return ("one", frozenset(tokens), negated) if tokens or negated else NOTHING


def _joined(row: list[Expression]) -> Expression:
    result = EMPTY
    for expression in reversed(row):
        result = _then(expression, result)
    return result


def _then(first: Expression, second: Expression) -> Expression:
    if NOTHING in (first, second):
        return NOTHING
    if EMPTY in (first, second):
        return second if first == EMPTY else first
    if first[0] == "then":  # to the right, always
        return ("then", first[1], _then(first[2], second))
    return ("then", first, second)


def _or(options: set[Expression]) -> Expression:
    flat = set()
    for option in options:
        flat |= option[1] if option[0] == "or" else {option}
    flat.discard(NOTHING)
    if len(flat) > 1:
        return ("or", frozenset(flat))
    return flat.pop() if flat else NOTHING


def _star(inner: Expression) -> Expression:
    if inner in (NOTHING, EMPTY):
        return EMPTY
    return inner if inner[0] == "star" else ("star", inner)


def _matches_empty(expression: Expression) -> bool:
    kind, *inner = expression
    if kind == "then":
        return all(map(_matches_empty, inner))
    if kind == "or":
        return any(map(_matches_empty, inner[0]))
    return kind in ("empty", "star")


def _tokens(expression: Expression) -> frozenset[int]:
    kind, *inner = expression
    if kind == "one":
        return inner[0]
    parts = inner[0] if kind == "or" else inner
    return frozenset().union(*map(_tokens, parts))


def _derivative(expression: Expression, token: int | None) -> Expression:
    """All that may follow on `token`; None is a token that stands in no set."""
    kind, *inner = expression
    if kind == "one":
        tokens, negated = inner
        return EMPTY if (token in tokens) != negated else NOTHING
    if kind == "or":
        return _or({_derivative(option, token) for option in inner[0]})
    if kind == "star":
        return _then(_derivative(inner[0], token), expression)
    if kind == "then":
        first, second = inner
        after = _then(_derivative(first, token), second)
        return _or({after, _derivative(second, token)}) if _matches_empty(first) else after
    return NOTHING
