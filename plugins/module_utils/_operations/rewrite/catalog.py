# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A table as the catalog has it: what a copy of it must get, and what no copy could get.

``read`` gives names and expressions as SQL, quoted by the server, with every name outside pg_catalog qualified: it sets
search_path for the rest of the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

from .errors import RewriteRefused

Cursor = Any

WORK, OLD = "phase_console_rewrite", "phase_console_replaced"  # schemas
TRIGGER = "phase_console_changed"
MARK = "phase.console rewrites a table: "  # how the comments of the schemas begin
# Commands of a rewrite by which something is dropped (documentation, 38.2 Event Trigger Firing Matrix).
DROPPING = ("ALTER TABLE", "DROP FUNCTION", "DROP SCHEMA", "DROP TABLE", "DROP TRIGGER")
# What ALTER COLUMN ... SET takes (PostgreSQL's documentation, ALTER TABLE). An option whose name begins with pg_ is the
# server's own (pg_attver since 15.20 and 17.12), with a value of its own in the copy as well: not copied, not compared.
COLUMN_OPTIONS = ("n_distinct", "n_distinct_inherited")
# Storage parameters (PostgreSQL's documentation, CREATE TABLE) of versions 10 to 18.
TABLE_OPTIONS = (
    "fillfactor",
    "parallel_workers",
    "toast_tuple_target",
    "user_catalog_table",
    "vacuum_index_cleanup",
    "vacuum_truncate",
    "vacuum_max_eager_freeze_failure_rate",
    "log_autovacuum_min_duration",
    "autovacuum_enabled",
    "autovacuum_analyze_scale_factor",
    "autovacuum_analyze_threshold",
    "autovacuum_freeze_max_age",
    "autovacuum_freeze_min_age",
    "autovacuum_freeze_table_age",
    "autovacuum_multixact_freeze_max_age",
    "autovacuum_multixact_freeze_min_age",
    "autovacuum_multixact_freeze_table_age",
    "autovacuum_vacuum_cost_delay",
    "autovacuum_vacuum_cost_limit",
    "autovacuum_vacuum_insert_scale_factor",
    "autovacuum_vacuum_insert_threshold",
    "autovacuum_vacuum_max_threshold",
    "autovacuum_vacuum_scale_factor",
    "autovacuum_vacuum_threshold",
)


@dataclass(frozen=True)
class Rewritable:
    """A table, and the tables whose rows go with its rows: (table, column) that refers to its key."""

    table: str
    followers: Tuple[Tuple[str, str], ...] = ()


EVENTS = Rewritable("api_secretevent", (("api_secretevent_tags", "secretevent_id"),))


@dataclass(frozen=True)
class Index:
    name: str
    opening: str  # CREATE INDEX name ON
    rest: str  # USING ...
    bytes: int
    clustered: bool
    comment: Optional[str]  # a literal


@dataclass(frozen=True)
class Constraint:
    kind: str  # p, u, f
    name: str
    definition: str
    table: str  # that has it
    other: Optional[str]  # that a foreign key refers to
    comment: Optional[str]


@dataclass(frozen=True)
class Table:
    oid: int
    schema: str
    name: str
    key: str
    key_type: str
    columns: Tuple[str, ...]  # those that an INSERT can name
    settings: Tuple[str, ...]  # what follows ALTER TABLE to make the columns of a copy equal
    options: Tuple[str, ...]  # storage parameters, toast's too: fillfactor='90'
    grants: Tuple[Tuple[str, str, bool], ...]  # (role, privilege, with grant option)
    comment: Optional[str]
    indexes: Tuple[Index, ...]  # the largest first
    keys: Tuple[Constraint, ...]  # primary and unique
    outgoing: Tuple[Constraint, ...]
    incoming: Tuple[Constraint, ...]

    @property
    def place(self) -> str:
        return "%s.%s" % (self.schema, self.name)

    @property
    def copy(self) -> str:
        return "%s.%s" % (WORK, self.name)

    @property
    def replaced(self) -> str:
        return "%s.%s" % (OLD, self.name)

    @property
    def followers(self) -> List[str]:
        return sorted({key.table for key in self.incoming})

    @property
    def parents(self) -> List[str]:
        return sorted({key.other for key in self.outgoing if key.other} - {self.place} - set(self.followers))


_TABLE = """
select c.oid::bigint, format('%%I', n.nspname), format('%%I', c.relname), c.relowner = r.oid as own,
       pg_get_userbyid(c.relowner), quote_literal(obj_description(c.oid, 'pg_class')),
       array(select format('%%s=%%L', option_name, option_value) from pg_options_to_table(c.reloptions)
             where left(option_name, 3) <> 'pg_'
             union all select format('toast.%%s=%%L', option_name, option_value)
             from pg_class t, pg_options_to_table(t.reloptions)
             where t.oid = c.reltoastrelid and left(option_name, 3) <> 'pg_' order by 1)
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.rolname = current_user
where c.oid = %s::oid
"""

_COLUMNS = """
select format('%%I', a.attname), a.attgenerated <> '',
       case when coalesce(a.attstattarget, -1) >= 0
            then format('alter column %%I set statistics %%s', a.attname, a.attstattarget) end,
       (select format('alter column %%I set (%%s)', a.attname,
                      string_agg(format('%%s=%%L', option_name, option_value), ', '))
        from pg_options_to_table(a.attoptions) where left(option_name, 3) <> 'pg_' having count(*) > 0)
from pg_attribute a where a.attrelid = %s and a.attnum > 0 and not a.attisdropped order by a.attnum
"""

_GRANTS = """
select case g.grantee when 0 then 'public' else format('%%I', pg_get_userbyid(g.grantee)) end,
       g.privilege_type, g.is_grantable
from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g where c.oid = %s order by 1, 2
"""

_INDEXES = """
select format('%%I', x.relname), pg_get_indexdef(x.oid),
       format('CREATE %%sINDEX %%I ON ', case when i.indisunique then 'UNIQUE ' else '' end, x.relname),
       format('%%I.%%I ', n.nspname, c.relname), pg_relation_size(x.oid), i.indisclustered,
       quote_literal(obj_description(x.oid, 'pg_class'))
from pg_index i join pg_class x on x.oid = i.indexrelid join pg_class c on c.oid = i.indrelid
join pg_namespace n on n.oid = c.relnamespace where c.oid = %s order by pg_relation_size(x.oid) desc, x.relname
"""

_CONSTRAINTS = """
select k.contype::text, format('%%I', k.conname), pg_get_constraintdef(k.oid), format('%%I.%%I', n.nspname, c.relname),
       (select format('%%I.%%I', fn.nspname, fc.relname)
        from pg_class fc join pg_namespace fn on fn.oid = fc.relnamespace where fc.oid = k.confrelid),
       quote_literal(obj_description(k.oid, 'pg_constraint'))
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where (k.conrelid = %(oid)s and k.contype in ('p', 'u', 'f')) or (k.confrelid = %(oid)s and k.contype = 'f')
order by k.contype, k.conname, 4
"""

_KEY = """
select format('%%I', a.attname), format_type(a.atttypid, a.atttypmod) from pg_index i
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
where i.indrelid = %s and i.indisprimary and i.indnkeyatts = 1
"""


def find(cursor: Cursor, table: str) -> int:
    """The table's oid, by the application's own search_path. Raises RewriteRefused."""
    cursor.execute("select to_regclass(quote_ident(%s))::oid::bigint", (table,))
    oid = cursor.fetchone()[0]
    if oid is None:
        raise RewriteRefused("There is no table %s." % table, "Check the database's name.")
    return int(oid)


def read(cursor: Cursor, oid: int) -> Table:
    """Within a transaction, whose search_path is pg_catalog from then on. Raises RewriteRefused."""
    cursor.execute("set local search_path = pg_catalog")
    cursor.execute(_TABLE, (oid,))
    row = cursor.fetchone()
    if row is None:
        raise RewriteRefused("The table has gone.", "Run it again.")
    _oid, schema, name, own, owner, comment, options = row
    if not own:
        raise RewriteRefused(
            "%s belongs to %s, and only its owner can rewrite it." % (name, owner),
            "Connect as %s (DATABASE_USER)." % owner,
        )
    cursor.execute(_KEY, (oid,))
    key = cursor.fetchone()
    if key is None:
        raise RewriteRefused("%s has no primary key of one column." % name, "Use another strategy.")
    cursor.execute(_COLUMNS, (oid,))
    columns = cursor.fetchall()
    cursor.execute(_INDEXES, (oid,))
    indexes = tuple(index(*row) for row in cursor.fetchall())
    cursor.execute(_CONSTRAINTS, {"oid": oid})
    constraints = [Constraint(*row) for row in cursor.fetchall()]
    place = "%s.%s" % (schema, name)
    return Table(
        oid=oid,
        schema=schema,
        name=name,
        key=key[0],
        key_type=key[1],
        columns=tuple(row[0] for row in columns if not row[1]),
        settings=tuple(text for row in columns for text in row[2:] if text),
        options=tuple(options),
        grants=tuple(grants(cursor, oid)),
        comment=comment,
        indexes=indexes,
        keys=tuple(one for one in constraints if one.kind != "f"),
        outgoing=tuple(one for one in constraints if one.kind == "f" and one.table == place),
        incoming=tuple(one for one in constraints if one.kind == "f" and one.table != place),
    )


def grants(cursor: Cursor, oid: int) -> List[Tuple[str, str, bool]]:
    """(role as SQL, privilege, with grant option) of a table, those of its owner among them."""
    cursor.execute(_GRANTS, (oid,))
    return [(row[0], row[1], row[2]) for row in cursor.fetchall()]


def index(
    name: str, definition: str, opening: str, table: str, size: int, clustered: bool, comment: Optional[str]
) -> Index:
    """An index whose definition can be replayed on another table. Raises RewriteRefused for one of an odd form."""
    if not definition.startswith(opening + table):
        raise RewriteRefused(
            "The index %s has a definition of an unknown form." % name, "Use another strategy, and report this."
        )
    return Index(name, opening, definition[len(opening + table) :], size, clustered, comment)


# What a copy would lose, or what would see the copy come and go. Each: a reason, in words, for each thing found.

_OBSTACLES = """
with t as (
  select c.*, n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = %(oid)s
), types as (
  select y.oid from pg_type y, t where y.oid = t.reltype or y.oid = (select typarray from pg_type where oid = t.reltype)
), parts (classid, objid) as (
  select 'pg_class'::regclass, t.oid from t
  union all select 'pg_type'::regclass, oid from types
  union all select 'pg_class'::regclass, i.indexrelid from pg_index i, t where i.indrelid = t.oid
  union all select 'pg_constraint'::regclass, k.oid from pg_constraint k, t where t.oid in (k.conrelid, k.confrelid)
), own (classid, objid) as (
  select * from parts
  union all select 'pg_class'::regclass, t.reltoastrelid from t
  union all select 'pg_attrdef'::regclass, d.oid from pg_attrdef d, t where d.adrelid = t.oid
  union all select 'pg_trigger'::regclass, g.oid from pg_trigger g, t
    where (g.tgrelid = t.oid or g.tgconstrrelid = t.oid) and (g.tgisinternal or g.tgname = %(trigger)s)
)
select 'it is no plain table of the heap' from t
where relkind <> 'r' or relispartition or relhassubclass or reloftype <> 0 or relpersistence <> 'p'
  or relam <> (select oid from pg_am where amname = 'heap')
union all select 'it inherits from another table' from t, pg_inherits h where h.inhrelid = t.oid
union all select 'it has a replica identity other than its key' from t where relreplident <> 'd'
union all select 'it has row security' from t where relrowsecurity or relforcerowsecurity
union all select distinct pg_describe_object(d.classid, d.objid, 0) || ' depends on it' from pg_depend d
  join parts p on (d.refclassid, d.refobjid) = (p.classid, p.objid)
  where not exists (select from own o where (o.classid, o.objid) = (d.classid, d.objid))
    and d.classid <> 'pg_rewrite'::regclass
union all select distinct pg_describe_object('pg_class'::regclass, r.ev_class, 0) || ' depends on it'
  from pg_depend d join parts p on (d.refclassid, d.refobjid) = (p.classid, p.objid)
  join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid, t where r.ev_class <> t.oid
union all select 'it has the rule ' || rulename from pg_rewrite r, t where r.ev_class = t.oid
union all select 'it belongs to an extension' from pg_depend d, t
  where (d.classid, d.objid) = ('pg_class'::regclass, t.oid) and d.deptype = 'e'
union all select 'publication ' || pubname || ' publishes it' from pg_publication where puballtables
union all select 'it has a security label' from t
  where exists (select from pg_seclabel s where (s.classoid, s.objoid) = ('pg_class'::regclass, t.oid))
union all select 'column ' || attname || ' has privileges of its own' from pg_attribute a, t
  where a.attrelid = t.oid and a.attacl is not null
union all select 'column ' || attname || ' is an identity' from pg_attribute a, t
  where a.attrelid = t.oid and a.attidentity <> '' and not a.attisdropped
union all select format('%%s was granted by %%s, not by its owner', g.privilege_type, pg_get_userbyid(g.grantor))
  from t, aclexplode(t.relacl) g where g.grantor <> t.relowner
union all select format('column %%s has the option %%s, which is not known here', a.attname, o.option_name)
  from t, pg_attribute a, pg_options_to_table(a.attoptions) o
  where a.attrelid = t.oid and o.option_name <> all(%(column_options)s)
  and left(o.option_name, 3) <> 'pg_'
union all select format('it has the storage parameter %%s, which is not known here', o.option_name)
  from t, pg_class c, pg_options_to_table(c.reloptions) o where c.oid in (t.oid, t.reltoastrelid)
  and o.option_name <> all(%(table_options)s) and left(o.option_name, 3) <> 'pg_'
union all select 'index ' || x.relname || ' is invalid' from pg_index i join pg_class x on x.oid = i.indexrelid, t
  where i.indrelid = t.oid and not (i.indisvalid and i.indisready)
union all select 'index ' || x.relname || ' has statistics targets' from pg_index i
  join pg_class x on x.oid = i.indexrelid join pg_attribute a on a.attrelid = x.oid, t
  where i.indrelid = t.oid and a.attstattarget >= 0
union all select x.relname || ' is in a tablespace of its own' from pg_class x, t
  where x.reltablespace <> 0 and (x.oid = t.oid or x.oid in (select indexrelid from pg_index where indrelid = t.oid))
union all select 'the constraint ' || conname || ' was never validated' from pg_constraint k, t
  where t.oid in (k.conrelid, k.confrelid) and not k.convalidated and not %(unfinished)s
union all select 'the constraint ' || conname || ' is of a kind that is not carried over' from pg_constraint k, t
  where k.conrelid = t.oid and (k.contype not in ('p', 'u', 'f', 'c', 'n') or k.confrelid = k.conrelid)
union all select 'a foreign key of a partitioned table refers to it' from pg_constraint k
  join pg_class c on c.oid = k.conrelid, t where k.confrelid = t.oid and c.relkind <> 'r'
union all select c.relname || ', which refers to it, has rules' from pg_class c, t where exists (
    select from pg_constraint k where k.conrelid = c.oid and k.confrelid = t.oid)
  and exists (select from pg_rewrite r where r.ev_class = c.oid and r.rulename <> '_RETURN')
union all select distinct c.relname || ', which refers to it, belongs to ' || pg_get_userbyid(c.relowner)
  from pg_constraint k join pg_class c on c.oid = k.conrelid, t where k.confrelid = t.oid and c.relowner <> t.relowner
union all select distinct c.relname || ', to which it refers, belongs to ' || pg_get_userbyid(c.relowner)
  from pg_constraint k join pg_class c on c.oid = k.confrelid, t
  where k.conrelid = t.oid and k.contype = 'f' and c.relowner <> t.relowner
union all select 'event trigger ' || evtname || ' fires when something is dropped, and may forbid it'
  from pg_event_trigger where evtevent = 'sql_drop' and evtenabled <> 'D'
  and (evttags is null or evttags && %(dropping)s::text[])
union all select 'logical replication slot ' || slot_name || ' would ship the copy as new rows'
  from pg_replication_slots where slot_type = 'logical' and database = current_database()
union all select 'this role may not create schemas in database ' || current_database()
  || ' (grant create on database to it)' where not has_database_privilege(current_database(), 'create')
union all select 'this role may not create tables in schema ' || t.nspname || ' (grant create on schema to it)' from t
  where not has_schema_privilege(t.relnamespace, 'create')
union all select 'the role ' || current_user || ' has not the privilege ' || p || ' on it' from t,
    unnest('{select,insert,update,delete,truncate,references,trigger}'::text[]) p
  where not has_table_privilege(t.oid, p)
union all select 'this role may not use PL/pgSQL' where not exists (
    select from pg_language where lanname = 'plpgsql' and has_language_privilege(oid, 'usage'))
union all select 'the schema ' || nspname || ' is there and is not of this collection''s making' from pg_namespace n
  where nspname in (%(work)s, %(old)s)
    and coalesce(obj_description(n.oid, 'pg_namespace'), '') not like %(mark)s
"""

_SCHEMA_PUBLICATIONS = """
select 'publication ' || p.pubname || ' publishes it' from pg_publication_namespace x
join pg_publication p on p.oid = x.pnpubid join pg_class c on c.relnamespace = x.pnnspid where c.oid = %s
"""


def obstacles(cursor: Cursor, oid: int, subject: Optional[Rewritable] = None, unfinished: bool = False) -> List[str]:
    """Why the table cannot be rewritten, in words. With a subject also other tables' rows that would be left behind.

    ``unfinished``: an earlier run was cut off, and foreign keys are put back and validated before the next rewrite.
    Within a transaction, whose search_path is pg_catalog from then on.
    """
    cursor.execute("set local search_path = pg_catalog")
    values = {"oid": oid, "trigger": TRIGGER, "work": WORK, "old": OLD, "mark": MARK + "%", "unfinished": unfinished}
    values.update(dropping=list(DROPPING))
    values.update(column_options=list(COLUMN_OPTIONS), table_options=list(TABLE_OPTIONS))
    cursor.execute(_OBSTACLES, values)
    found = [row[0] for row in cursor.fetchall()]
    cursor.execute("select to_regclass('pg_publication_namespace') is not null")
    if cursor.fetchone()[0]:
        cursor.execute(_SCHEMA_PUBLICATIONS, (oid,))
        found += [row[0] for row in cursor.fetchall()]
    if subject is not None:
        cursor.execute(
            "select c.relname::text, a.attname::text from pg_constraint k join pg_class c on c.oid = k.conrelid "
            "left join pg_attribute a on a.attrelid = c.oid and a.attnum = k.conkey[1] and cardinality(k.conkey) = 1 "
            "where k.contype = 'f' and k.confrelid = %s order by 1, 2",
            (oid,),
        )
        referring = [(row[0], row[1]) for row in cursor.fetchall()]
        found += ["%s.%s refers to it" % pair for pair in referring if pair not in subject.followers]
        if not unfinished:
            found += ["%s.%s does not refer to it" % pair for pair in subject.followers if pair not in referring]
    return list(dict.fromkeys(found))
