# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore on the server: a new database beside the present one, checked there, then two renames in one transaction.

``create database`` and ``drop database`` run outside transactions; renaming, settings, grants and comments of a
database run in them (PostgreSQL documentation: CREATE DATABASE, ALTER DATABASE). So a restore that is killed leaves
either state whole, and at most a database that is not finished. The first line of a database's comment says what it is:
``phase.console {"state": "kept", "database": "phase", "backup": "...", "sha256": "...", "at": "..."}``. Its states are
``half`` (not finished), ``restored`` and ``returned`` (in use), ``kept`` (from before a restore) and ``taken_back``.
"""

# ruff: noqa: S608 - names are the catalog's or constants of this file, quoted

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple, TypedDict

from ..._errors import ConnectionFailed, DatabaseMissing, NotAllowed, PhaseError, WrongPassword
from ..core.api import Context, Request, Result
from ..core.server import free_bytes, rows
from ..core.types import Connection, Cursor
from ..core.words import identifier, quoted

MARK = "phase.console "
HALF, RESTORED, RETURNED, KEPT, TAKEN_BACK = "half", "restored", "returned", "kept", "taken_back"
STAMP = r"\d{8}T\d{6}Z"
COUNTING = 30000  # milliseconds that counting the newer rows of one table may take
ATTEMPTS = 5  # renames, each after ending the application's sessions; one waits five seconds for sessions to end
ENDING = 10  # seconds for pg_restore of a run that was killed to end
IN_USE, NO_LOCK, CANCELLED, DENIED = "55006", "55P03", "57014", "42501"

# Values of these are lists, which pg_db_role_setting holds quoted as SQL wants them (PostgreSQL 14 to 18, guc.h,
# GUC_LIST_QUOTE); every other value is one text.
LISTS = ("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries")

# What opens or closes Phase to somebody, and the columns that say how; secrets among them are compared by digest.
WATCHED: Dict[str, Tuple[str, ...]] = {
    "api_networkaccesspolicy": ("name", "allowed_ips", "is_global"),
    "api_organisationssoprovider": ("name", "provider_type", "enabled", "config"),
    "api_organisation": ("name", "require_sso"),
    "api_serviceaccounttoken": ("name", "deleted_at"),
    "api_servicetoken": ("name", "deleted_at"),
    "api_usertoken": ("name", "deleted_at"),
}
Watched = Dict[str, Dict[str, Dict[str, str]]]  # by table and id: the name, of other columns what ``shown`` gives


class Mark(TypedDict):
    """What a database's comment says of it. ``at``: when that came about (UTC); ``backup``: the file's name."""

    state: str
    database: str
    backup: str
    sha256: str
    at: str


class SessionsInTheWay(PhaseError):
    """Sessions that are not the application's are connected to the database that has to be renamed or dropped."""

    kind = "sessions_in_the_way"


class RestoreRunning(PhaseError):
    """Another restore of the same database is under way."""

    kind = "restore_running"


class RestoreFailed(PhaseError):
    """The backup could not be restored, or is not whole once restored; the present database stays as it was."""

    kind = "restore_failed"


def marked(comment: Optional[str]) -> Tuple[Optional[Mark], str]:
    """The mark in a database's comment, and the rest of the comment."""
    first, _end, rest = (comment or "").partition("\n")
    if first.startswith(MARK):
        with contextlib.suppress(ValueError):
            mark: Mark = json.loads(first[len(MARK) :])
            return mark, rest
    return None, comment or ""


def comment_of(mark: Mark, rest: str) -> str:
    return MARK + json.dumps(mark, sort_keys=True) + ("\n" + rest if rest else "")


def shown(column: str, value: Optional[str]) -> str:
    """A value as both sides compare it: a time only by whether it is there, since each session writes its own zone."""
    if column == "name":
        return value or ""
    if column == "deleted_at" or value is None:
        return str(value is not None)
    return hashlib.sha256(value.encode()).hexdigest()


@contextlib.contextmanager
def _maintenance(context: Context, database: str) -> Iterator[Cursor]:
    """A cursor in a database that the restore of ``database`` does not rename."""
    first, *others = [name for name in ("postgres", "template1") if name != database]
    try:
        connection = context.connect("restore", first)
    except (ConnectionFailed, DatabaseMissing, WrongPassword) as error:
        try:
            connection = context.connect("restore", (others or [first])[0])
        except (ConnectionFailed, DatabaseMissing, WrongPassword):
            raise ConnectionFailed(
                "Databases are renamed from another one, postgres or template1, and neither is open to this role: %s"
                % error.message,
                "Let the role connect to database postgres: in pg_hba.conf, or where a pooler lists its databases.",
            ) from error
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def _value(connection: Connection, statement: str, limit: int = 0, *values: Any) -> Any:
    """One value, or None where it takes longer than ``limit`` milliseconds; 0 is no limit."""
    import psycopg2

    with connection.cursor() as cursor:
        cursor.execute("begin read only")
        try:
            cursor.execute("set local statement_timeout = %s", (limit,))
            cursor.execute(statement, values or None)
            return cursor.fetchone()[0]
        except psycopg2.Error as error:
            if error.pgcode != CANCELLED or not limit:
                raise
            return None
        finally:
            cursor.execute("rollback")


_TIMES = """
    select c.relname::text as name, array_agg(quote_ident(a.attname)::text order by a.attname) as columns
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and not a.attisdropped
      and a.attname in ('created_at', 'updated_at', 'timestamp') and a.atttypid = 'timestamptz'::regtype
    group by 1 order by 1
"""


def _there(connection: Connection, table: str) -> bool:
    return bool(rows(connection, "select to_regclass(%s) is not null as there", ("public." + table,))[0]["there"])


def _newest(connection: Connection, table: str, column: str, where: str = "true") -> Optional[str]:
    """The latest time in a column, in UTC; None without one, and where looking takes too long."""
    latest = "to_char(max(%s) at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')" % column
    statement = "select %s from public.%s where %s" % (latest, table, where)
    found: Optional[str] = _value(connection, statement, COUNTING) if _there(connection, table) else None
    return found


def _newer(context: Context, connection: Connection, since: str) -> Dict[str, Any]:
    """By table, the rows that were added or changed since; None for a table that takes too long to count."""
    found: Dict[str, Any] = {}
    for table in rows(connection, _TIMES):
        context.check_cancelled()
        latest = "greatest(%s)" % ", ".join(table["columns"])
        statement = "select count(*) from public.%s where %s > %%s" % (identifier(table["name"]), latest)
        found[table["name"]] = _value(connection, statement, COUNTING, since)
    return found


def _watched(connection: Connection) -> Watched:
    """The rows that ``WATCHED`` names, with those of its columns that this release has."""
    found: Watched = {}
    for table, columns in WATCHED.items():
        there = rows(
            connection,
            "select attname::text as name from pg_attribute where attrelid = to_regclass(%s) and not attisdropped",
            ("public." + table,),
        )
        known = [one for one in columns if one in [row["name"] for row in there]]
        if known:
            # format() writes a boolean as COPY does, where a cast to text would spell it out.
            chosen = ", ".join("case when %s is not null then format('%%s', %s) end" % (one, one) for one in known)
            entries = rows(connection, "select id::text as id, array[%s] as it from public.%s" % (chosen, table))
            found[table] = {row["id"]: {c: shown(c, v) for c, v in zip(known, row["it"])} for row in entries}
    return found


_SELF = """
    select current_database()::text as database, current_user::text as role,
           r.rolcreatedb or r.rolsuper as may_create,
           r.rolsuper or pg_has_role('pg_signal_backend', 'usage') as may_end, o.rolname::text as owner,
           pg_has_role(d.datdba, 'usage') as owns, pg_is_in_recovery() as standby,
           current_setting('server_version') as server_version, pg_database_size(d.oid) as bytes
    from pg_database d join pg_roles r on r.rolname = current_user join pg_roles o on o.oid = d.datdba
    where d.datname = current_database()
"""
_DATABASES = """
    select datname::text as name, shobj_description(oid, 'pg_database') as comment, pg_get_userbyid(datdba) as owner,
           case when has_database_privilege(oid, 'connect')
                and shobj_description(oid, 'pg_database') like 'phase.console {%' then pg_database_size(oid)
           end as bytes
    from pg_database order by 1
"""
# Of other roles' sessions a role without rights sees pid, user and name. A worker of the server has no user.
_SESSIONS = """
    select datname::text as database, pid, usename::text as role, application_name as application,
           usename = current_user and application_name not like 'phase.console %%' as own
    from pg_stat_activity where datname = any(%s) and usesysid is not null and pid <> pg_backend_pid() order by 1, 2
"""


def ours(databases: List[Dict[str, Any]], database: str) -> List[Dict[str, Any]]:
    """The databases that restores of ``database`` made or kept: ``name``, ``mark``, ``bytes``, the oldest first."""
    found = [dict(one, mark=marked(one["comment"])[0]) for one in databases if one["name"] != database]
    return sorted(
        (one for one in found if one["mark"] and one["mark"]["database"] == database),
        key=lambda one: (str(one["mark"]["at"]), str(one["name"])),
    )


def _ledger(connection: Connection) -> List[List[str]]:
    found = rows(connection, "select app, name from public.django_migrations order by id")
    return [[row["app"], row["name"]] for row in found]


def survey(context: Context, request: Request) -> Result:
    """The present database and what a restore has to know. ``since``: count what is newer, in UTC; else since the
    restore that the database came from. Reads only."""
    connection = context.connect("restore")
    try:
        me = rows(connection, _SELF)[0]
        databases = rows(connection, _DATABASES)
        mark = marked(next(one["comment"] for one in databases if one["name"] == me["database"]))[0]
        since = request["since"] or (mark["at"] if mark else None)
        names = [me["database"], *(one["name"] for one in ours(databases, me["database"]))]
        ledger = _ledger(connection) if _there(connection, "django_migrations") else []
        slots = "select slot_name::text as name from pg_replication_slots where database = current_database()"
        found: Result = {
            "me": me,
            "mark": mark,
            "databases": ours(databases, me["database"]),
            "sessions": rows(connection, _SESSIONS, (names,)),
            "slots": [row["name"] for row in rows(connection, slots)],
            "free": free_bytes(connection),
            "ledger": ledger,
            "newer": _newer(context, connection, since) if since else {},
            "watched": _watched(connection),
            "secret_changed": _newest(connection, "api_secret", "updated_at"),
            "secret_read": _newest(connection, "api_secretevent", '"timestamp"', "event_type = 'R'"),
        }
    finally:
        connection.close()
    with _maintenance(context, me["database"]):  # that it can be reached has to be known before anything is touched
        return found


# Changing


def _name(name: str) -> str:
    """A name in a statement that has parameters."""
    return identifier(name).replace("%", "%%")


def _drop(context: Context, cursor: Cursor, name: str, force: bool = False) -> None:
    """Drop a database of ours. A killed pg_restore ends within moments, once it finds the end of its input."""
    import psycopg2

    until = context.clock() + ENDING
    while True:
        try:
            cursor.execute("drop database if exists %s%s" % (identifier(name), " with (force)" if force else ""))
            return
        except psycopg2.Error as error:
            if error.pgcode != IN_USE:
                raise
            if context.clock() >= until:
                raise RestoreRunning(
                    "Database %s, which a restore has made, is in use: %s" % (name, " ".join(str(error).split())),
                    "Let that restore finish; if there is none, end those sessions. Then run it again.",
                ) from error
        context.sleep(1)


def _empty(context: Context, name: str) -> bool:
    """Whether a database has no table: one that was killed before it got its mark."""
    connection = context.connect("restore", name)
    try:
        tables = "select count(*) as n from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
        return bool(rows(connection, tables)[0]["n"] == 0)
    finally:
        connection.close()


def _create(cursor: Cursor, present: str, name: str) -> None:
    """A database with the owner, encoding, locale and tablespace of the present one."""
    version = cursor.connection.server_version
    provider = "datlocprovider" if version >= 150000 else "'c'"
    locale = "datlocale" if version >= 170000 else "daticulocale" if version >= 150000 else "null"
    cursor.execute(
        "select pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, spcname, %s, %s"
        " from pg_database d join pg_tablespace t on t.oid = d.dattablespace where datname = %%s" % (provider, locale),
        (present,),
    )
    owner, encoding, collate, ctype, tablespace, kind, locale_name = cursor.fetchone()
    statement = "create database %s owner %s template template0" % (_name(name), _name(owner))
    values = [encoding, collate, ctype]
    statement += " encoding %s lc_collate %s lc_ctype %s"
    if kind in ("i", "b"):
        word = {"i": "icu", "b": "builtin"}[kind]
        statement += " locale_provider " + word + " " + word + "_locale %s"
        values.append(locale_name)
    if tablespace != "pg_default":  # naming the default one takes a right that nobody needs
        statement += " tablespace " + _name(tablespace)
    cursor.execute(statement, values)


def _properties(cursor: Cursor, name: str) -> Dict[str, Any]:
    """What pg_dump leaves out: settings of the database and of roles in it, grants, the limit of connections."""
    cursor.execute(
        "select coalesce(r.rolname, ''), unnest(s.setconfig) from pg_db_role_setting s"
        " join pg_database d on d.oid = s.setdatabase left join pg_roles r on r.oid = s.setrole"
        " where d.datname = %s order by 1, 2",
        (name,),
    )
    settings = cursor.fetchall()
    cursor.execute(
        "select coalesce(r.rolname, ''), a.privilege_type, a.is_grantable from pg_database d,"
        " aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a left join pg_roles r on r.oid = a.grantee"
        " where d.datname = %s order by 1, 2",
        (name,),
    )
    grants = cursor.fetchall()
    cursor.execute("select pg_get_userbyid(datdba), datconnlimit from pg_database where datname = %s", (name,))
    owner, limit = cursor.fetchone()
    return {"settings": settings, "grants": grants, "owner": owner, "limit": limit}


def _carry_over(cursor: Cursor, present: str, name: str) -> None:
    """Give a new database the properties of the present one. Raises RestoreFailed where it has others afterwards."""
    wanted, it = _properties(cursor, present), identifier(name)
    for role, setting in wanted["settings"]:
        option, _equals, value = setting.partition("=")
        whose = "role %s in database %s" % (identifier(role), it) if role else "database %s" % it
        statement = "alter %s set %s to " % (whose, ".".join(map(identifier, option.split("."))))
        if option in LISTS:
            cursor.execute(statement + (value or "''"))
        else:
            cursor.execute(statement.replace("%", "%%") + "%s", (value,))
    if _properties(cursor, name)["grants"] != wanted["grants"]:
        cursor.execute("revoke all on database %s from public, %s" % (it, identifier(wanted["owner"])))
        for role, privilege, option in wanted["grants"]:
            whom = identifier(role) if role else "public"
            cursor.execute(
                "grant %s on database %s to %s%s" % (privilege, it, whom, " with grant option" if option else "")
            )
    if wanted["limit"] != -1:
        cursor.execute("alter database %s connection limit %d" % (it, wanted["limit"]))
    if _properties(cursor, name) != wanted:
        raise RestoreFailed(
            "Settings or grants of database %s could not be given to the restored one." % present,
            "Run it as a role that may set them, such as a superuser.",
        )


def prepare(context: Context, request: Request) -> Result:
    """Drop what a killed restore left, and make the database ``name`` for a restore of ``database``.

    That its properties can be carried over is tried at once, in a transaction that is rolled back.
    """
    database, name, mark = request["database"], request["name"], request["mark"]
    dropped = []
    with _maintenance(context, database) as cursor:
        pattern = re.compile(re.escape(request["stem"]) + STAMP + "$")
        for one in rows(cursor.connection, _DATABASES):
            known, _rest = marked(one["comment"])
            half = known is not None and known["state"] == HALF and known["database"] == database
            if half or (not one["comment"] and pattern.match(one["name"]) and _empty(context, one["name"])):
                context.report("Dropping %s, left over from a restore that was cut off" % one["name"])
                _drop(context, cursor, one["name"])
                dropped.append(one["name"])
        _create(cursor, database, name)
        try:
            cursor.execute("comment on database %s is %%s" % _name(name), (comment_of(mark, ""),))
            cursor.execute("begin")
            try:
                _carry_over(cursor, database, name)
            finally:
                cursor.execute("rollback")
        except BaseException:
            _drop(context, cursor, name)
            raise
    return {"dropped": dropped}


def discard(context: Context, request: Request) -> Result:
    """Drop the databases ``names`` beside ``database``; with ``force`` their sessions are ended."""
    with _maintenance(context, request["database"]) as cursor:
        for name in request["names"]:
            _drop(context, cursor, name, request["force"])
    return {}


_COUNTED = """
    select n.nspname::text as schema, c.relname::text as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence <> 't'
      and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'
    order by 1, 2
"""
_DOUBTFUL = """
    select conname::text as name from pg_constraint where not convalidated
    union all select indexrelid::regclass::text from pg_index where not indisvalid order by 1
"""


def check(context: Context, request: Request) -> Result:
    """Compare the restored database ``name`` with what the backup holds: ``rows`` by table, ``ledger``. It also gets
    its statistics. ``doubtful``: constraints that are not validated, and invalid indexes. Raises RestoreFailed."""
    connection = context.connect("restore", request["name"])
    try:
        wrong = []
        wanted = dict(request["rows"])
        for table in rows(connection, _COUNTED):
            context.check_cancelled()
            name = "%(schema)s.%(name)s" % table
            place = "%s.%s" % (identifier(table["schema"]), identifier(table["name"]))
            found, here = _value(connection, "select count(*) from " + place), wanted.pop(name, 0)
            if found != here:
                wrong.append("%s has %d rows and the backup %d" % (name, found, here))
        wrong += ["%s is missing" % name for name in wanted]
        if not wrong and sorted(_ledger(connection)) != sorted(request["ledger"]):
            wrong.append("the ledger of migrations is another")
        if wrong:
            raise RestoreFailed(
                "The restored database is not what the backup holds: %s." % "; ".join(wrong[:5]),
                "The present database is as it was. Report it with this text.",
            )
        context.report("Every table has the backup's rows; collecting statistics")
        with connection.cursor() as cursor:
            cursor.execute("analyze")
        doubtful = [row["name"] for row in rows(connection, _DOUBTFUL)]
        return {"doubtful": doubtful, "bytes": _value(connection, "select pg_database_size(current_database())")}
    finally:
        connection.close()


def _named(application: Optional[str]) -> str:
    return ", %s" % quoted(application) if application else ""


def in_the_way(sessions: List[Dict[str, Any]]) -> str:
    """The sessions that are not the application's, in words; nothing where there is none."""
    found = [one for one in sessions if not one["own"]]
    told = ["%s (pid %s%s)" % (one["role"], one["pid"], _named(one["application"])) for one in found[:5]]
    return ", ".join(told) + (" and %d more" % (len(found) - 5) if len(found) > 5 else "")


def refusal(database: str, sessions: str) -> SessionsInTheWay:
    return SessionsInTheWay(
        "Sessions are connected to %s: %s." % (database, sessions),
        "Ask their people to close them, let a backup or a purge finish, or set end_other_sessions: true.",
    )


def _clear(cursor: Cursor, names: List[str], others: bool) -> None:
    """End the application's sessions in these databases, with ``others`` all. Raises SessionsInTheWay, NotAllowed."""
    import psycopg2

    sessions = rows(cursor.connection, _SESSIONS, (names,))
    told = in_the_way(sessions)
    if told and not others:
        raise refusal(" and ".join(names), told)
    for one in sessions:
        try:
            cursor.execute("select pg_terminate_backend(%s)", (one["pid"],))
        except psycopg2.Error as error:
            if error.pgcode != DENIED:
                raise
            raise NotAllowed(
                "This role may not end the session %s." % in_the_way([one]),
                "Have it ended, or run this as a role that has pg_signal_backend.",
            ) from error


def exchange(context: Context, request: Request) -> Result:
    """``incoming`` becomes ``database``, and what was that becomes ``outgoing``: one transaction.

    ``marks`` are the two marks, ``others`` whether other people's sessions are ended too, ``carry`` whether incoming
    gets the properties and the comment of the present database.
    """
    import psycopg2

    database, incoming, outgoing = request["database"], request["incoming"], request["outgoing"]
    with _maintenance(context, database) as cursor:
        for attempt in range(ATTEMPTS):
            _clear(cursor, [database, incoming], request["others"])
            try:
                cursor.execute("begin")
                own = {one["name"]: marked(one["comment"])[1] for one in rows(cursor.connection, _DATABASES)}
                if request["carry"]:
                    _carry_over(cursor, database, incoming)
                    own[incoming] = own[database]
                for name, role in ((database, "outgoing"), (incoming, "incoming")):
                    words = comment_of(request["marks"][role], own[name])
                    cursor.execute("comment on database %s is %%s" % _name(name), (words,))
                cursor.execute("alter database %s rename to %s" % (identifier(database), identifier(outgoing)))
                cursor.execute("alter database %s rename to %s" % (identifier(incoming), identifier(database)))
                cursor.execute("commit")
                return {"attempts": attempt + 1}
            except psycopg2.Error as error:
                cursor.execute("rollback")
                if error.pgcode not in (IN_USE, NO_LOCK):
                    raise
                last = " ".join(str(error).split())
            except BaseException:
                cursor.execute("rollback")
                raise
            context.check_cancelled()
    raise SessionsInTheWay(
        "The databases could not be renamed, since sessions came back each time: %s" % last,
        "Stop what connects (the backend and its worker), or end a prepared transaction. Then run it again.",
    )
