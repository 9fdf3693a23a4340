# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random

import pytest
from ansible_collections.phase.console.plugins.module_utils._operations.core.tokens import (
    NotUnderstood,
    Reader,
    split,
    tokens,
    without_literals,
)

# Pieces that must stay whole wherever they stand.
STRINGS = [
    "'it''s; -- no comment'",
    "E'back\\'slash; \\\\'",
    "$$ begin; end; $$",
    "$a$ $$ ; $a$",
    "U&'d\\0061t;'",
    "b'101'",
]
QUOTED = ['"a ""b"" ; c"', '"select"', '"ünïcode"']
COMMENTS = ["-- one ; line\n", "/* nested /* ; */ still */", " ", "\n\t"]
PLAIN = ["alter", "table", "x1", "3.14", "(", ")", ",", "::", "text", "=", "'", '"', "$1", "é"]


def kinds(sql):
    return [(token.kind, token.text) for token in tokens(sql)]


def test_the_tokens_of_anything_make_the_text_again():
    randomness = random.Random(112)
    for _round in range(500):
        pieces = [randomness.choice(STRINGS + QUOTED + COMMENTS + PLAIN + [";"]) for _piece in range(12)]
        sql = "".join(pieces)
        assert "".join(token.text for token in tokens(sql)) == sql


def test_statements_are_cut_only_between_whole_pieces():
    randomness = random.Random(136)
    for _round in range(200):
        statements = [
            " ".join(randomness.choice(STRINGS + QUOTED + PLAIN[:5]) for _piece in range(5))
            for _statement in range(randomness.randrange(1, 5))
        ]
        script = randomness.choice(COMMENTS).join(statement + " ;" for statement in statements)
        assert [text for text, _parts in split(script)] == statements


@pytest.mark.parametrize("literal", STRINGS)
def test_strings_of_every_kind_are_one_token(literal):
    assert kinds(literal) == [("string", literal)]


def test_names_fold_as_postgresql_folds_them():
    assert [token.name for token in tokens('Api_Secret"Api ""x"""')] == ["api_secret", 'Api "x"']


def test_a_comment_that_never_ends_and_a_string_that_never_ends():
    assert kinds("/* x") == [("space", "/* x")]
    assert [token.text for token in tokens("'x")] == ["'", "x"]


def test_literals_are_left_out_of_what_people_see():
    sql = "select *  from t\n where a = 'secret' and b = 17 and c = $$secret$$ -- secret"
    assert without_literals(sql) == "select * from t where a = ? and b = ? and c = ?"
    assert without_literals("select " + "x" * 300, 20) == "select " + "x" * 12 + "…"


def test_the_reader_takes_phrases_names_and_groups():
    ((_text, parts),) = split('ALTER TABLE "public"."Order" (a, (b)) rest')
    reader = Reader(parts)
    assert reader.accept("alter table") and not reader.accept("drop")
    assert reader.name() == "Order"
    assert [token.text for token in reader.group()] == ["a", ",", "(", "b", ")"]
    assert [token.text for token in reader.rest()] == ["rest"] and reader.done()
    with pytest.raises(NotUnderstood):
        reader.name()
    with pytest.raises(NotUnderstood):
        Reader(split("(a, b")[0][1]).group()


def test_a_quoted_keyword_is_a_name():
    ((_text, parts),) = split('"table" x')
    assert not Reader(parts).accept("table")
