# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions that any operation asks of a server."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Sequence

Connection = Any


def rows(connection: Connection, statement: str, parameters: Sequence[Any] = ()) -> List[Dict[str, Any]]:
    """All rows of a query, each as a mapping of column names; the query has to cast to JSON types itself."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row)) for row in cursor.fetchall()]


def free_bytes(connection: Connection) -> Any:
    """Bytes free at the data directory, when this process runs on the server's host and may know where that is."""
    found = rows(
        connection,
        """
        select case when pg_has_role('pg_read_all_settings', 'member') then current_setting('data_directory') end
               as folder,
               inet_server_addr() is null or inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() <<= '::1/128'
               as here
        """,
    )[0]
    if not found["here"] or not found["folder"] or not os.path.isdir(found["folder"]):
        return None
    volume = os.statvfs(found["folder"])
    return volume.f_bavail * volume.f_frsize
