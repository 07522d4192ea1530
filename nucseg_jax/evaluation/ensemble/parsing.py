"""From an ensemble's text to its expression, and back: `str(expression)`."""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from nucseg_jax.errors import UserError, in_short

PAPER = "or(unet, and(psp_segnet, self_correction))"
"""The ensemble of Hassan et al., IJIMAI 6(6), 2021: AJI 0.7103 there; its best single network has 0.7080."""

OPERATORS = ("or", "and", "mean", "majority", "weighted", "vote")
"""What they do: see the package's docstring."""


class EnsembleError(UserError):
    """An expression cannot be read, or lacks the scores it needs."""


@dataclass(frozen=True)
class Model:
    """One model, by its name."""

    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def models(self) -> tuple[str, ...]:
        """The name alone: an expression's models."""
        return (self.name,)


@dataclass(frozen=True)
class Operation:
    """An operator over two or more arguments."""

    operator: str
    arguments: tuple["Expression", ...]

    def __str__(self) -> str:
        return f"{self.operator}({', '.join(map(str, self.arguments))})"

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models in it, each once, sorted."""
        return tuple(sorted({name for argument in self.arguments for name in argument.models}))


Expression: TypeAlias = Model | Operation


def parse(text: str, names: Collection[str]) -> Expression:
    """Read an expression: a model's name, or `operator(expression, expression, …)`.

    A name is of letters, digits, `_`, `-` and `.`. A model may be named like an operator: the operator is the
    one with a `(` after it. White space is free. `parse(str(expression), names) == expression`.

    Args:
      text: the expression.
      names: of the models there are.

    Raises:
      EnsembleError: the text is no expression; the message shows it, with a `^` under where it goes wrong.
    """
    return _Reader(text, names).read()


_NAME = r"[\w.-]+"
_DEEPEST = 50  # operators within one another; Python's own limit is about a thousand calls
_SHOWN = 80  # letters on each side of what is wrong
_ARGUMENT = "a model or an operator"


class _Reader:
    """Recursive descent: one method for each rule of the grammar."""

    def __init__(self, text: str, names: Collection[str]):
        self.text = text
        self.names = names
        # Any other character is a token too: it will be found where something else is expected.
        self.tokens = [(match[0], match.start()) for match in re.finditer(rf"{_NAME}|\S", text)]
        self.tokens.append(("", len(text.rstrip())))
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> str:
        """The one to be read next; "" at the end."""
        return self.tokens[self.at][0]

    def read(self) -> Expression:
        expression = self.expression(outer=None)
        if self.token:
            self.fail_expecting("the end")
        return expression

    def expression(self, outer: str | None) -> Expression:
        """`outer`: the operator whose argument it is."""
        word = self.token
        if not re.fullmatch(_NAME, word):
            self.fail_expecting(_ARGUMENT if outer != "weighted" else "a model")
        called = self.tokens[self.at + 1][0] == "("
        if word in self.names and not called:
            self.at += 1
            return Model(word)
        if word not in OPERATORS:
            self.fail_unknown(word, called)
        if outer == "weighted":
            self.fail_expecting("a model", ": weighted needs validation scores, which only models have")
        if outer and word == "vote":
            self.fail_expecting("another operator or a model", f": it gives nuclei, and {outer} takes pixels")
        if self.depth == _DEEPEST:
            self.fail(f"operators lie more than {_DEEPEST} deep within one another: write it with fewer")
        self.at += 1
        if not called:
            self.fail_expecting(f"'(' after the operator {word!r}")
        self.depth += 1
        arguments = self.arguments(word)
        self.depth -= 1
        return Operation(word, arguments)

    def arguments(self, operator: str) -> tuple[Expression, ...]:
        """From the "(" to the ")"."""
        found: list[Expression] = []
        while len(found) < 2 or self.token != ")":
            few = f": {operator} takes two or more arguments" if len(found) < 2 else ""
            if found and self.token != ",":
                self.fail_expecting("','" if few else "',' or ')'", few)
            self.at += 1
            if few and self.token == ")":
                self.fail_expecting(_ARGUMENT if operator != "weighted" else "a model", few)
            found.append(self.expression(outer=operator))
        self.at += 1
        return tuple(found)

    def fail_unknown(self, word: str, called: bool) -> NoReturn:
        if word in self.names:
            self.at += 1
            self.fail_expecting("',', ')' or the end", f": {word!r} is a model, no operator")
        kind, known = ("operator", OPERATORS) if called else ("model", tuple(sorted(self.names)))
        # Without a "(" it may still have been meant as an operator: OR[…], in the paper.
        lower = {name.lower(): name for name in (*OPERATORS, *known)}
        near = difflib.get_close_matches(word.lower()[:_SHOWN], lower, n=1, cutoff=0.4)
        hint = f"did you mean {lower[near[0]]!r}? " if near else ""
        self.fail(f"unknown {kind} {in_short(repr(word), _SHOWN)}: {hint}expected one of {', '.join(known)}")

    def fail_expecting(self, what: str, why: str = "") -> NoReturn:
        self.fail(
            f"expected {what}, found {in_short(repr(self.token), _SHOWN) if self.token else 'the end'}{why}"
        )

    def fail(self, problem: str) -> NoReturn:
        """The error, its pointer under the next token."""
        place = self.tokens[self.at][1]
        first = max(0, place - _SHOWN)
        # A line break, or what moves a terminal's cursor, would move the text from its pointer.
        line = "".join(c if c.isprintable() else " " for c in self.text[first : place + _SHOWN])
        raise EnsembleError(f"ensemble: {problem}", f"  {line}", f"  {' ' * (place - first)}^")
