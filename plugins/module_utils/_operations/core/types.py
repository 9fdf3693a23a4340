# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this package uses of psycopg2's connections and cursors (psycopg2 documentation, classes connection, cursor)."""

from __future__ import annotations

from typing import Any, List, Optional, Protocol, Sequence, Tuple


class Cursor(Protocol):
    """``description`` is None after a statement without rows; column 0 of each entry is the column's name."""

    rowcount: int

    @property
    def connection(self) -> Any: ...

    @property
    def description(self) -> Optional[Sequence[Any]]: ...

    def execute(self, query: Any, vars: Any = None) -> Any: ...  # noqa: A002 - psycopg2's name

    def fetchone(self) -> Any:
        """A tuple, or None after the last row. Any: who asks for one row of a known query needs no check for None."""

    def fetchall(self) -> List[Tuple[Any, ...]]: ...

    def mogrify(self, query: Any, vars: Any = None) -> bytes: ...  # noqa: A002

    def copy_expert(self, sql: Any, file: Any) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Cursor: ...

    def __exit__(self, *exception: Any) -> Optional[bool]: ...


class Connection(Protocol):
    """In autocommit mode, as ``Context.connect`` opens them."""

    autocommit: bool
    cursor_factory: Any
    notices: List[str]

    @property
    def server_version(self) -> int: ...

    @property
    def closed(self) -> int: ...

    @property
    def info(self) -> Any: ...

    def cursor(self) -> Cursor: ...

    def cancel(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...
