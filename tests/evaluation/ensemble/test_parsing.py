"""Ensemble expressions: read, written, and errors that point at their spot."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg_jax.errors import UserError
from nucseg_jax.evaluation.ensemble import OPERATORS, PAPER, EnsembleError, Model, Operation, parse

NAMES = ("unet", "psp_segnet", "self_correction", "a", "b", "c")


def test_the_papers_ensemble():
    branch = Operation("and", (Model("psp_segnet"), Model("self_correction")))
    expression = parse(PAPER, NAMES)
    assert expression == Operation("or", (Model("unet"), branch))
    assert str(expression) == PAPER
    assert expression.models == ("psp_segnet", "self_correction", "unet")


def test_a_model_alone_is_an_expression():
    assert parse(" unet\n", NAMES) == Model("unet")


def test_white_space_is_free():
    assert parse("\n or\t( unet ,and (a,b)) ", NAMES) == parse("or(unet, and(a, b))", NAMES)


def test_a_model_may_be_named_like_an_operator():
    expression = parse("or(or, vote, and (mean, or))", OPERATORS)
    inner = Operation("and", (Model("mean"), Model("or")))
    assert expression == Operation("or", (Model("or"), Model("vote"), inner))
    assert parse("vote", OPERATORS) == Model("vote")


def test_a_model_may_be_written_twice():
    assert parse("or(a, a)", NAMES).models == ("a",)


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        ("", "^", "expected a model or an operator, found the end"),
        ("  ", "^", "expected a model or an operator, found the end"),
        ("unett", "^", "unknown model 'unett': did you mean 'unet'? expected one of a, b, c, psp_segnet, "),
        ("or(unet, psp)", "         ^", "unknown model 'psp': did you mean 'psp_segnet'?"),
        ("or(a, UNet)", "      ^", "unknown model 'UNet': did you mean 'unet'?"),
        ("or(a, 9)", "      ^", "unknown model '9': expected one of a, b, c, psp_segnet, "),
        ("orr(a, b)", "^", "unknown operator 'orr': did you mean 'or'? expected one of or, and, mean, "),
        ("or(a, meen (b, c))", "      ^", "unknown operator 'meen': did you mean 'mean'?"),
        ("OR[a, b]", "^", "unknown model 'OR': did you mean 'or'?"),
        (
            "or(a, b(c, a))",
            "       ^",
            "expected ',', ')' or the end, found '(': 'b' is a model, no op",
        ),
        ("or", "  ^", "expected '(' after the operator 'or', found the end"),
        ("or  a, b)", "    ^", "expected '(' after the operator 'or', found 'a'"),
        ("(a)", "^", "expected a model or an operator, found '('"),
        ("or(", "   ^", "expected a model or an operator, found the end"),
        ("or()", "   ^", "expected a model or an operator, found ')': or takes two or more arguments"),
        ("or(a)", "    ^", "expected ',', found ')': or takes two or more arguments"),
        ("or(a,)", "     ^", "expected a model or an operator, found ')': or takes two or more arguments"),
        ("or(a, and(b), c)", "           ^", "expected ',', found ')': and takes two or more arguments"),
        ("or(a", "    ^", "expected ',', found the end: or takes two or more arguments"),
        ("or(a, b  ", "       ^", "expected ',' or ')', found the end"),
        ("or(a, and(b, c)", "               ^", "expected ',' or ')', found the end"),
        ("or(a, b c)", "        ^", "expected ',' or ')', found 'c'"),
        ("or(a, b; c)", "       ^", "expected ',' or ')', found ';'"),
        ("or(,a)", "   ^", "expected a model or an operator, found ','"),
        ("or(a,,b)", "     ^", "expected a model or an operator, found ','"),
        ("or(a, b,)", "        ^", "expected a model or an operator, found ')'"),
        ("or(a, b))", "        ^", "expected the end, found ')'"),
        ("or(a, b), c", "        ^", "expected the end, found ','"),
        ("unet a", "     ^", "expected the end, found 'a'"),
        ("or(a,\n\tvote(b, c))", "       ^", "expected another operator or a model, found 'vote': it gives "),
        ("vote(a, vote(b, c))", "        ^", "nuclei, and vote takes pixels"),
        ("weighted(a, mean(b, c))", "            ^", "expected a model, found 'mean': weighted needs "),
        ("weighted(a, (b))", "            ^", "expected a model, found '('"),
        ("weighted(a,)", "           ^", "expected a model, found ')': weighted takes two or more"),
        ("or(a, runs/unet)", "      ^", "unknown model 'runs'"),
    ],
)
def test_an_error_points_at_its_spot(text, pointer, message):
    with pytest.raises(EnsembleError) as caught:
        parse(text, NAMES)
    problem, *shown = str(caught.value).split("\n")
    assert message in problem
    assert shown == ["  " + re.sub(r"\s", " ", text), "  " + pointer]
    assert isinstance(caught.value, UserError)


def names():
    word = st.text("abrov09_-.", min_size=1, max_size=4)
    return st.one_of(word, st.sampled_from(OPERATORS))


def operations(operators, arguments):
    listed = st.lists(arguments, min_size=2, max_size=4).map(tuple)
    return st.builds(Operation, st.sampled_from(operators), listed)


MODELS = st.builds(Model, names())
PIXELS = st.recursive(
    MODELS | operations(["weighted"], MODELS),
    lambda arguments: operations(["or", "and", "mean", "majority"], arguments),
    max_leaves=12,
)
EXPRESSIONS = PIXELS | operations(["vote"], PIXELS)


@given(EXPRESSIONS, st.sampled_from(["", " ", "\n", " \t"]))
@settings(max_examples=100)
def test_an_expression_survives_its_text(expression, space):
    text = str(expression)
    assert parse(text, expression.models) == expression
    spaced = space.join(re.findall(r"[(),]|[^(), ]+", text))
    assert parse(spaced, expression.models) == expression


@given(st.text("ab(), ;orvte", max_size=12))
def test_any_text_is_read_or_shown_with_a_pointer_into_it(text):
    try:
        expression = parse(text, ["a", "b"])
    except EnsembleError as error:
        _, shown, pointer = str(error).split("\n")
        assert shown == f"  {text}"
        assert 2 <= pointer.index("^") <= 2 + len(text)
    else:
        assert str(expression).replace(" ", "") == text.replace(" ", "")


def test_endless_texts_end_in_a_short_message():
    """Deeper nesting than Python's own limit is refused, and what is shown is what lies around the fault."""
    for text in ("or(a," * 5000, "or(a," * 60 + "b" + ")" * 60):
        with pytest.raises(EnsembleError, match="operators lie more than 50 deep") as error:
            parse(text, NAMES)
        assert len(str(error.value)) < 500
    with pytest.raises(EnsembleError, match="unknown model 'x{79} …: expected one of") as error:
        parse("or(" + "a, " * 500 + "x" * 5000 + ")", NAMES)
    assert len(str(error.value)) < 700
    with pytest.raises(EnsembleError) as error:
        parse("or(a, \x1b[31m\u202eb)", NAMES)
    first, line, pointer = str(error.value).split("\n")
    assert first.isprintable() and line == "  or(a,  [31m b)" and pointer.index("^") == 2 + 6
