# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts of tables, as the operation finds them."""

from __future__ import annotations


def column(name, each, values=21100, length=-1, align="i", n_distinct=-1.0):
    return (
        {"name": name, "length": length, "align": align, "n_distinct": n_distinct},
        {"bytes": float(each * values), "values": values},
    )


def table(**more):
    columns = [
        column("id", 37),
        column("environment_id", 37, n_distinct=5.0),
        column("user_id", 37, values=10550, n_distinct=3.0),
        column("value", 730),
        column("timestamp", 8, length=8, align="d"),
    ]
    facts = {
        "sample": {"share": 1.0, "rows": 21100, "columns": {one["name"]: found for one, found in columns}},
        "columns": [one for one, _found in columns],
        "fillfactor": None,
        "rows_estimate": 21100.0,
        "state": {"table_bytes": 91086848, "heap_bytes": 91029504, "total_bytes": 132603904},
        "indexes": [index("pkey", ["id"], bytes=5931008, unique=True), index("env", ["environment_id"], bytes=745472)],
    }
    facts.update(more)
    return facts


def index(name, columns, **more):
    return {
        "name": name,
        "columns": columns,
        "bytes": 1000000,
        "method": "btree",
        "unique": False,
        "valid": True,
        "partial": False,
        "rows": 21100.0,
        "includes": False,
        "fillfactor": 90,
        **more,
    }
