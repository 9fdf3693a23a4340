# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""When service-account tokens were last used, where only a read event shows it.

Phase shows ``last_used_at`` of a token and, where that is null or the column is missing (before v2.69.0), the time of
the token's newest event of any kind; since the column exists it also writes that time into it when somebody looks. A
purge of that newest event would make the token look unused, so the time is written into the column before, by the same
rule. Without the column there is no place for it, and a warning names the token.
"""

from __future__ import annotations

from typing import List, cast

from ..core.types import Connection
from .rule import Rule
from .session import Session
from .types import Token

_COLUMN = """
select exists (select from pg_catalog.pg_attribute where attrelid = to_regclass('api_serviceaccounttoken')
               and attname = 'last_used_at' and not attisdropped)
"""

# The newest event of each token that has no time of its own, when that event is one of those that go.
_LAST = """
select t.id, t.name, a.name, to_char(e.timestamp at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
from api_serviceaccounttoken t join api_serviceaccount a on a.id = t.service_account_id
cross join lateral (select * from api_secretevent l where l.service_account_token_id = t.id
                    order by l.timestamp desc limit 1) e
where t.deleted_at is null {unknown} and {condition}
order by a.name, t.name, t.id
"""

# The same without an index by token and time (before v2.54.0), in one pass: the newest event of all that goes is newer
# than the newest that stays.
_LAST_AT_ONCE = """
select t.id, t.name, a.name, to_char(e.gone at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
from (select e.service_account_token_id as token, max(e.timestamp) filter (where {condition}) as gone,
             max(e.timestamp) filter (where not ({condition})) as stays
      from api_secretevent e where e.service_account_token_id is not null group by 1) e
join api_serviceaccounttoken t on t.id = e.token join api_serviceaccount a on a.id = t.service_account_id
where t.deleted_at is null {unknown} and e.gone > coalesce(e.stays, '-infinity')
order by a.name, t.name, t.id
"""
_INDEX = "select exists (select from pg_catalog.pg_indexes where indexname = 'sa_token_last_used_idx')"


def has_column(connection: Connection) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_COLUMN)
        return bool(cursor.fetchone()[0])


def affected(connection: Connection, rule: Rule, column: bool) -> List[Token]:
    """Tokens whose time of last use is known only by a row that goes."""
    unknown = "and t.last_used_at is null" if column else ""
    with connection.cursor() as cursor:
        cursor.execute(_INDEX)
        query = _LAST if cursor.fetchone()[0] else _LAST_AT_ONCE
        cursor.execute(query.format(unknown=unknown, condition=rule.condition), rule.values)
        return [cast(Token, dict(zip(("id", "name", "account", "last_used"), row))) for row in cursor.fetchall()]


def keep(session: Session, tokens: List[Token]) -> int:
    """Write the times into the column, where it is still null."""
    kept = 0
    with session.transaction() as cursor:
        for token in tokens:
            cursor.execute(
                "update api_serviceaccounttoken set last_used_at = %(last_used)s::timestamptz "
                "where id = %(id)s and last_used_at is null",
                token,
            )
            kept += cursor.rowcount
    return kept
