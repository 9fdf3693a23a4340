# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""SQL cut into tokens, and a reader that steps through them."""

from __future__ import annotations

import re
from typing import Any, List, NamedTuple, Optional, Sequence, Set, Tuple


class Token(NamedTuple):
    kind: str  # space, word, quoted, string, number, symbol
    text: str

    @property
    def name(self) -> str:
        """The identifier that the token stands for, folded as PostgreSQL folds it."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text.lower()


_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*)
  | (?P<comment>/\*)
  | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
  | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
  | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")+")
  | (?P<word>[^\W\d][\w$]*)
  | (?P<number>\d[\w.]*)
  | (?P<symbol>::|.)
    """,
    re.VERBOSE | re.DOTALL,
)


def _end_of_comment(sql: str, start: int) -> int:
    """The end of the block comment that begins at ``start``; PostgreSQL's nest."""
    depth, position = 1, start + 2
    for mark in re.finditer(r"/\*|\*/", sql[position:]):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return position + mark.end()
    return len(sql)


def tokens(sql: str) -> List[Token]:
    """All tokens; joined, their texts are the input again."""
    found: List[Token] = []
    position = 0
    while position < len(sql):
        match: Any = _TOKEN.match(sql, position)  # never None: the last branch takes any character
        kind, end = match.lastgroup, match.end()
        if kind == "comment":
            kind, end = "space", _end_of_comment(sql, position)
        elif kind == "dollar":
            closing = sql.find(match.group(), end)
            kind, end = "string", len(sql) if closing < 0 else closing + len(match.group())
        found.append(Token(kind, sql[position:end]))
        position = end
    return found


def split(sql: str) -> List[Tuple[str, List[Token]]]:
    """The statements of a script: text without comments, and tokens without spaces. Empty ones are left out."""
    statements: List[Tuple[str, List[Token]]] = []
    text, parts = "", []  # type: str, List[Token]
    for token in tokens(sql) + [Token("symbol", ";")]:
        if token.kind == "symbol" and token.text == ";":
            if parts:
                statements.append((text.strip(), parts))
            text, parts = "", []
        elif token.kind == "space":
            text += " "
        else:
            text += token.text
            parts.append(token)
    return statements


def without_literals(sql: str, length: int = 160) -> str:
    """The statement for people: one line, shortened, every literal as ``?``."""
    text = "".join(
        " " if token.kind == "space" else "?" if token.kind in ("string", "number") else token.text
        for token in tokens(sql)
    )
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


class NotUnderstood(Exception):
    """The text is none of the forms known here."""


class Reader:
    """Steps through the tokens of one statement or of one part of it."""

    def __init__(self, parts: Sequence[Token]) -> None:
        self.parts = list(parts)
        self.at = 0

    def peek(self, ahead: int = 0) -> Optional[Token]:
        return self.parts[self.at + ahead] if self.at + ahead < len(self.parts) else None

    def done(self) -> bool:
        return self.at >= len(self.parts)

    def accept(self, phrase: str) -> bool:
        """Take the words (or symbols) of the phrase if they come next."""
        wanted = phrase.lower().split()
        for ahead, word in enumerate(wanted):
            token = self.peek(ahead)
            if token is None or token.kind not in ("word", "symbol") or token.text.lower() != word:
                return False
        self.at += len(wanted)
        return True

    def next_is(self, phrase: str) -> bool:
        before = self.at
        found = self.accept(phrase)
        self.at = before
        return found

    def name(self) -> str:
        """An identifier; of a qualified one the last part, since Phase lives in one schema."""
        token = self.peek()
        if token is None or token.kind not in ("word", "quoted"):
            raise NotUnderstood
        self.at += 1
        if self.accept("."):
            return self.name()
        return token.name

    def names(self) -> List[str]:
        found = [self.name()]
        while self.accept(","):
            found.append(self.name())
        return found

    def group(self) -> List[Token]:
        """What stands between the parentheses that come next."""
        if not self.accept("("):
            raise NotUnderstood
        depth, start = 1, self.at
        while depth:
            token = self.peek()
            if token is None:
                raise NotUnderstood
            depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "symbol" else 0
            self.at += 1
        return self.parts[start : self.at - 1]

    def rest(self) -> List[Token]:
        left = self.parts[self.at :]
        self.at = len(self.parts)
        return left

    def until(self, stops: Set[str], empty: bool = False) -> List[Token]:
        """Tokens up to one of the words, outside of parentheses; at least one unless it may be ``empty``."""
        start, depth = self.at, 0
        while not self.done():
            token = self.parts[self.at]
            if token.kind == "symbol":
                depth += {"(": 1, ")": -1}.get(token.text, 0)
            elif depth == 0 and token.kind == "word" and token.name in stops and (empty or self.at > start):
                break
            self.at += 1
        return self.parts[start : self.at]


def commas(parts: Sequence[Token]) -> List[List[Token]]:
    """Split at the commas outside of parentheses."""
    pieces: List[List[Token]] = [[]]
    depth = 0
    for token in parts:
        if token.kind == "symbol" and token.text in "()[]":
            depth += 1 if token.text in "([" else -1
        if token.kind == "symbol" and token.text == "," and depth == 0:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces
