# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A table described without its place, so that it and its copy can be compared before one takes the other's place.

Compared is what a user can have set and an application can see, each named: the view that pg_dump has of a table. A
catalog's whole row would also hold numbers that the server keeps for itself, and new ones with any minor release.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

Portrait = Dict[Tuple[str, str], Any]  # by kind (table, column, constraint, index) and name

_PORTRAIT = """
select 'table', '', jsonb_build_object(
  'owner', c.relowner, 'persistence', c.relpersistence, 'tablespace', c.reltablespace, 'am', c.relam,
  'replident', c.relreplident, 'rls', c.relrowsecurity, 'comment', obj_description(c.oid, 'pg_class'),
  'options', (select jsonb_agg(o order by o) from unnest(c.reloptions) o where left(o, 3) <> 'pg_'),
  'toast', (select jsonb_agg(o order by o) from pg_class t, unnest(t.reloptions) o
            where t.oid = c.reltoastrelid and left(o, 3) <> 'pg_'),
  'acl', (select jsonb_agg(to_jsonb(g) order by g::text)
          from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g))
from pg_class c where c.oid = %(oid)s
union all select 'column', a.attname, jsonb_build_object(
  'number', row_number() over (order by a.attnum), 'type', format_type(a.atttypid, a.atttypmod),
  'collation', a.attcollation, 'not_null', a.attnotnull, 'identity', a.attidentity, 'generated', a.attgenerated,
  'storage', a.attstorage, 'compression', to_jsonb(a) -> 'attcompression',
  'statistics', nullif(a.attstattarget, -1), 'local', a.attislocal, 'acl', a.attacl::text,
  'options', (select jsonb_agg(o order by o) from unnest(a.attoptions) o where left(o, 3) <> 'pg_'),
  'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(a.attrelid, a.attnum))
from pg_attribute a left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
union all select 'constraint', k.conname, jsonb_build_object(
  'type', k.contype, 'definition', pg_get_constraintdef(k.oid), 'comment', obj_description(k.oid, 'pg_constraint'),
  'valid', k.convalidated, 'local', k.conislocal, 'no_inherit', k.connoinherit)
from pg_constraint k where k.conrelid = %(oid)s and k.contype <> 'f'
union all select 'index', x.relname, jsonb_build_object(
  'definition', replace(pg_get_indexdef(x.oid), format(' ON %%I.%%I ', n.nspname, c.relname), ' ON '),
  'valid', i.indisvalid, 'ready', i.indisready, 'primary', i.indisprimary, 'unique', i.indisunique,
  'clustered', i.indisclustered, 'replident', i.indisreplident, 'immediate', i.indimmediate,
  'options', (select jsonb_agg(o order by o) from unnest(x.reloptions) o where left(o, 3) <> 'pg_'),
  'owner', x.relowner,
  'comment', obj_description(x.oid, 'pg_class'))
from pg_index i join pg_class x on x.oid = i.indexrelid join pg_class c on c.oid = i.indrelid
join pg_namespace n on n.oid = c.relnamespace where c.oid = %(oid)s
"""


def portrait(cursor: Any, oid: int) -> Portrait:
    """All that is known of a table, its columns, constraints but foreign keys, and indexes, without its place."""
    cursor.execute(_PORTRAIT, {"oid": oid})
    return {(kind, name): facts for kind, name, facts in cursor.fetchall()}


def differences(wanted: Portrait, found: Portrait) -> List[str]:
    """In what a copy's portrait is not the table's, in words."""
    result = []
    for key in sorted(set(wanted) | set(found)):
        have, want = found.get(key), wanted.get(key)
        if have == want:
            continue
        if have is None or want is None:
            result.append("%s %s is %s" % (key[0], key[1], "missing" if have is None else "too many"))
        else:
            parts = sorted(part for part in set(have) | set(want) if have.get(part) != want.get(part))
            result.append(" ".join(word for word in key if word) + ": " + ", ".join(parts))
    return result
