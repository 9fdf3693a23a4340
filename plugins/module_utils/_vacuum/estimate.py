# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How large a table and its B-tree indexes would be if they were written anew. Pure: facts in, bytes out.

Layouts: documentation, 66.6 Database Page Layout, and 65.1 B-Tree Indexes with 65.1.4.3 Deduplication (numbers of
version 18). Numbers are bytes.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional

Facts = Mapping[str, Any]

PAGE_HEADER, POINTER, ROW_HEADER, INDEX_HEADER, TID, BTREE_SPECIAL = 24, 4, 23, 8, 6, 16
ALIGN = {"d": 8, "i": 4, "s": 2, "c": 1}  # where a value of fixed length begins
POSTING_SHARE = 0.1  # of a page: the longest list of rows that one key gets while an index is built
UNKEEPABLE = 2032  # a row above that is moved out of line in parts, so its size does not tell what a page wastes


def aligned(size: float, to: int = 8) -> int:
    return int(math.ceil(size / to) * to)


def living_rows(table: Facts) -> float:
    return float(table["sample"]["rows"] / table["sample"]["share"])


def table_bytes(table: Facts, block: int) -> Optional[int]:
    """The rows in a new file, with what is kept out of line; None when the sample found no row in a large table."""
    sample = table["sample"]
    if not sample["rows"]:
        return 0 if sample["share"] == 1 else None
    count = float(sample["rows"])
    data = sum(column["bytes"] for column in sample["columns"].values()) / count
    data += sum((ALIGN[column["align"]] - 1) / 2.0 for column in table["columns"] if column["length"] > 0)
    nulls = any(column["values"] < count for column in sample["columns"].values())
    header = aligned(ROW_HEADER + (math.ceil(len(table["columns"]) / 8.0) if nulls else 0))
    row = header + data + 3.5 + POINTER
    usable = block * (table["fillfactor"] or 100) / 100.0 - PAGE_HEADER - (row / 2 if row < UNKEEPABLE else 0)
    blocks: int = math.ceil(living_rows(table) * row / usable)
    return blocks * block


def index_bytes(table: Facts, index: Facts, block: int) -> Optional[int]:
    """A valid B-tree index written anew; None for other kinds, indexes of expressions, and without a sample."""
    columns = {column["name"]: column for column in table["columns"]}
    if index["method"] != "btree" or not all(name in columns for name in index["columns"]):
        return None
    if not table["sample"]["rows"]:
        return block if table["sample"]["share"] == 1 else None
    entries = living_rows(table)
    if index["partial"]:
        if index["rows"] < 0 or table["rows_estimate"] <= 0:
            return None
        entries *= min(1.0, index["rows"] / table["rows_estimate"])
    parts = [_part(table, columns[name]) for name in index["columns"]]
    deduplicated = not index["unique"] and not index["includes"]
    nulls = parts[0]["nulls"] if len(parts) == 1 else 0.0  # one column: its nulls are all together
    distinct = 1.0
    for part in parts:
        distinct = min(entries, distinct * (part["distinct"] + (1 if part["nulls"] and len(parts) > 1 else 0)))
    size = 0.0
    for rows, together, key in (
        (entries * nulls, entries * nulls, _key([], True)),
        (entries * (1 - nulls), entries * (1 - nulls) / distinct, _key(parts, len(parts) > 1)),
    ):
        size += rows * _per_entry(key, together, deduplicated, block)
    usable = block * index["fillfactor"] / 100.0 - PAGE_HEADER - BTREE_SPECIAL
    return int(math.ceil(size / usable * 1.01) + 2) * block


def _part(table: Facts, column: Facts) -> Dict[str, float]:
    """Of a column: ``nulls`` (share), ``data`` (bytes of a value), ``align``, ``distinct`` values."""
    found, count = table["sample"]["columns"][column["name"]], float(table["sample"]["rows"])
    living = living_rows(table)
    distinct = column["n_distinct"]
    if distinct is None or distinct == 0:
        distinct = living  # not analyzed: as if no value came twice, which promises too little rather than too much
    elif distinct < 0:
        distinct *= -living
    return {
        "nulls": 1 - found["values"] / count,
        "data": found["bytes"] / found["values"] if found["values"] else 0.0,
        "align": ALIGN[column["align"]] if column["length"] > 0 else 1,
        "distinct": max(1.0, min(distinct, living)),
    }


def _key(parts: List[Dict[str, float]], nulls: bool) -> int:
    """Bytes of a key with its header; each column counts as often as it is not null."""
    size = float(INDEX_HEADER)
    if nulls and (not parts or any(part["nulls"] for part in parts)):
        size += 8
    for part in parts:
        share = 1 - part["nulls"] if len(parts) > 1 else 1.0
        size += (aligned(size, int(part["align"])) - size + part["data"]) * share
    return aligned(size)


def _per_entry(key: int, together: float, deduplicated: bool, block: int) -> float:
    """Bytes that an entry takes when ``together`` rows have the same key."""
    if not deduplicated or together <= 1:
        return key + POINTER
    group = max(1.0, min(together, (block * POSTING_SHARE - key) / TID))
    return (key + POINTER + (TID * group if group > 1 else 0)) / group


def estimate(table: Facts, block: int) -> Dict[str, Any]:
    """``table_bytes`` (None: unknown), ``index_bytes`` by name, never more than now, ``rows``."""
    heap = table_bytes(table, block)
    indexes: Dict[str, int] = {}
    for index in table["indexes"]:
        new = index_bytes(table, index, block) if index["valid"] else None
        indexes[index["name"]] = index["bytes"] if new is None else min(index["bytes"], new)
    now = table["state"]["table_bytes"]
    return {
        "rows": int(living_rows(table)),
        "table_bytes": now if heap is None else min(now, heap),
        "index_bytes": indexes,
    }


def freed_by_rewrite(table: Facts, guess: Facts) -> int:
    """Bytes that writing table and indexes anew gives back."""
    indexes = sum(index["bytes"] - guess["index_bytes"][index["name"]] for index in table["indexes"])
    return int(table["state"]["table_bytes"] - guess["table_bytes"] + indexes)


def size_after_rewrite(table: Facts, guess: Facts) -> int:
    return int(guess["table_bytes"] + sum(guess["index_bytes"].values()))


def bloated_indexes(table: Facts, guess: Facts, share: float, least: int) -> List[Facts]:
    """Valid indexes that would give back at least that share of themselves, and that many bytes; the largest last."""
    chosen = []
    for index in table["indexes"]:
        freed = index["bytes"] - guess["index_bytes"][index["name"]]
        if index["valid"] and freed >= least and freed >= share * index["bytes"]:
            chosen.append(index)
    return sorted(chosen, key=lambda index: (index["bytes"], index["name"]))
