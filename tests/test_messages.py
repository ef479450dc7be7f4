"""What the errors of the package say: what came, what is needed, what to do.

All `raise` statements are read from the source, as no test can reach each of them.
"""

import ast
import re
from pathlib import Path

import pytest

import sklearn_unsup

ROOT = Path(sklearn_unsup.__file__).parent
# Words of a message that say what is needed or cannot be, or what a user may do.
ADVICE = re.compile(
    r"\b(must|needs?|needed|equal|required?|allowed|allows|minimum|takes|holds|means|have|are|"
    r"no|cannot|twice|greater|was all missing|had no missing|scores single rows|"
    r"pass|use|convert|cast|call|replaced?|fill|fit|equal|lower|set|drop|bring|remove|"
    r"divide|install|draw|choose|leave|name)\b",
    re.IGNORECASE,
)
# A parameter, name, method or class as it is written in code.
CODE = re.compile(r"\w+=|\w+\.\w+|\w+\(\)|'\w+'|\bX\b|\by\b|\w+_\w+|`")
# Beginnings of reasons, which another error quotes in brackets.
REASONS = "it is", "its frequency", "the column has"
VALUE = "\N{WHITE SQUARE}"  # stands for what a message is filled with


def text_of(node):
    """The text of an expression, with VALUE for what is only known at run time."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return VALUE


def messages():
    """Place and text of every message that is written where it is raised."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            kind = ast.unparse(node.exc.func)
            if not kind.endswith("Error"):
                continue  # a function that makes the error has its own text
            text = " ".join(map(text_of, node.exc.args))
            if text.replace(VALUE, "").strip() and not text.startswith(REASONS):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


MESSAGES = dict(messages())


def test_there_are_messages():
    assert len(MESSAGES) > 80


@pytest.mark.parametrize("place", MESSAGES)
def test_a_message_says_what_came_and_what_to_do(place):
    text = MESSAGES[place]
    assert VALUE in text or CODE.search(text), text
    assert ADVICE.search(text) is not None or text.endswith(VALUE), text
    assert len(text.split()) >= 5 or text.endswith(VALUE), text


@pytest.mark.parametrize("place", MESSAGES)
def test_a_message_is_of_whole_sentences(place):
    text = MESSAGES[place].strip()
    assert "  " not in text, text
    if re.search(r"[a-z]\. [A-Z]", text):  # of several, so that the last one ends, too
        assert text[-1] in f".?){VALUE}", text
    assert not text.endswith((",", ":", ";")), text


def test_the_test_sees_what_is_wrong():
    assert not ADVICE.search("bad input")
    assert text_of(ast.parse("f'a {b} c' 'd'").body[0].value) == f"a {VALUE} cd"
