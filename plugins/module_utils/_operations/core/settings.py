# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings that every connection of ours brings along, whatever a role, a database or a URL has set.

All settings of PostgreSQL 14 to 18 (pg_settings; documentation, 20) were gone through with the question which of them
end a session, change what a statement does, or what catalog functions print. Left as they are, although they can be
set by a role or a database: what makes work slower or faster only (vacuum_cost_delay, work_mem, synchronous_commit,
maintenance_work_mem, ...), what only a log sees, search_path and role, since they are the application's own, and what
only a superuser sets and no connection of a lesser role can take back (session_replication_role, lc_messages,
temp_file_limit, deadlock_timeout); decisions go by SQLSTATE, so the language does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping, Tuple


@dataclass(frozen=True)
class Setting:
    name: str
    value: str  # as pg_settings shows it, in the setting's own unit
    why: str
    since: int = 0  # the version of the server that has it
    local: bool = True  # whether SET LOCAL works on the transaction that it begins


SETTINGS: Tuple[Setting, ...] = (
    Setting(
        "idle_in_transaction_session_timeout", "0", "ends a transaction that waits for a copy or the caller's disk"
    ),
    Setting("idle_session_timeout", "0", "ends a connection that waits for another one's work", 140000, False),
    Setting("transaction_timeout", "0", "ends a copy or an index build", 170000),
    Setting("default_transaction_isolation", "read committed", "makes statements fail with 40001", local=False),
    Setting("default_transaction_read_only", "off", "refuses every write, though the server takes them", local=False),
    Setting("default_transaction_deferrable", "off", "makes a snapshot wait", local=False),
    Setting("row_security", "off", "leaves rows out silently; off, the statement fails and names the table"),
    Setting("client_encoding", "UTF8", "cannot hold every name; SQL_ASCII says of none what it is", local=False),
    Setting("client_min_messages", "notice", "hides that VACUUM left a table out"),
    Setting("DateStyle", "ISO, MDY", "changes how times are written and read"),
    Setting("IntervalStyle", "postgres", "changes how intervals are written and read"),
    Setting("TimeZone", "UTC", "changes what a time without a zone means"),
    Setting("bytea_output", "hex", "changes how values are written into archives"),
    Setting("extra_float_digits", "1", "rounds numbers"),
    Setting("quote_all_identifiers", "off", "changes how definitions are printed that are compared"),
    Setting("standard_conforming_strings", "on", "changes what a backslash in a literal means"),
    Setting("transform_null_equals", "off", "changes what = NULL means"),
    Setting("array_nulls", "on", "changes what NULL in an array means"),
    Setting("default_table_access_method", "heap", "makes a copy of another kind", 120000),
    Setting("enable_tidscan", "on", "reads the whole table for each range of blocks"),
    Setting("enable_seqscan", "on", "reads a whole table by an index, in no order"),
    Setting("restrict_nonsystem_relation_kind", "", "refuses views, among them those of extensions", 170000),
    Setting("vacuum_truncate", "on", "keeps an emptied end of a table", 180000),
)
AT_START = 140000  # versions from then on are supported: what they all have goes with the connection's first packet


def wanted(limits: Mapping[str, int], version: int) -> Dict[str, str]:
    """What a connection to a server of that version has to have. ``limits``: timeouts in milliseconds."""
    found = {one.name: one.value for one in SETTINGS if version >= one.since}
    found.update({name: str(value) for name, value in limits.items()})
    return found


def options(limits: Mapping[str, int]) -> str:
    """For libpq's ``options``: those that every version has."""
    values = dict(wanted(limits, AT_START))
    values.pop("client_encoding")  # which has a parameter of its own
    return " ".join("-c %s=%s" % (name, value.replace(" ", "\\ ")) for name, value in values.items())


def each_time(limits: Mapping[str, int], version: int) -> Dict[str, str]:
    """Those that each transaction has to bring, where the session keeps none."""
    lasting = {one.name for one in SETTINGS if not one.local}
    return {name: value for name, value in wanted(limits, version).items() if name not in lasting}
