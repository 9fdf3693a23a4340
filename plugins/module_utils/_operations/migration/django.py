# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Django says of the image's migrations. To be called within ``with_django``; thin, since it needs Django.

Django's own loader and executor answer which migrations exist, depend on each other and are pending (replaced and
squashed ones included), and its schema editor writes the SQL. Names used are those of Django 4.2 to 5.2.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from typing import Any, Callable, Dict, Iterator, List, Tuple

from ..._errors import ApplicationFailed
from ..core.database import database_error
from .child import UNLIMITED
from .graph import Graph
from .plan import Migration, Walk
from .schema import overlay

_GET_MODEL = re.compile(r"""get_model\(\s*["'](\w+)(?:\.(\w+)["']|["']\s*,\s*["'](\w+)["'])""")


@contextlib.contextmanager
def django_errors() -> Iterator[None]:
    """Django's errors in typed form: the driver's behind those of the database, and a graph that does not add up."""
    from django.db.migrations.exceptions import BadMigrationError, CircularDependencyError, NodeNotFoundError
    from django.db.utils import Error

    try:
        yield
    except Error as error:
        raise database_error(error.__cause__ if isinstance(error.__cause__, Exception) else error) from error
    except (BadMigrationError, CircularDependencyError, NodeNotFoundError) as error:
        raise ApplicationFailed(
            "The image's migrations do not add up: %s" % error, "Use a released image of Phase's backend."
        ) from error


def load() -> Tuple[Any, Graph, List[Any]]:
    """The executor, the graph as plain data, and the pending migrations in the order they would run."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    loader = executor.loader
    graph = Graph(
        parents={key: sorted(parent.key for parent in node.parents) for key, node in loader.graph.node_map.items()},
        disk=sorted(loader.disk_migrations),
        replaced={key: list(migration.replaces) for key, migration in loader.replacements.items()},
        conflicts={app: sorted(names) for app, names in loader.detect_conflicts().items()},
    )
    # A ledger with gaps makes a plan as well; the caller refuses it by Graph.inconsistent before using the plan.
    plan = executor.migration_plan(loader.graph.leaf_nodes())
    connection.close()  # an idle one may be ended by idle_session_timeout; Django connects again when it has to
    return executor, graph, [migration for migration, backwards in plan if not backwards]


def flatten(operations: List[Any]) -> Iterator[Any]:
    """The operations that touch the database, those inside of SeparateDatabaseAndState included."""
    for operation in operations:
        inner = getattr(operation, "database_operations", None)
        if inner is None:
            yield operation
        else:
            yield from flatten(inner)


def runs_python(operation: Any) -> bool:
    code = getattr(operation, "code", None)
    return code is not None and code is not type(operation).noop


def mentioned_models(code: Callable[..., Any]) -> List[Tuple[str, str]]:
    """(app, model) pairs that a RunPython function asks the registry for, as far as its source shows."""
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):
        return []
    pairs = [(app, dotted or model) for app, dotted, model in _GET_MODEL.findall(source)]
    return list(dict.fromkeys(pairs))


def describe(migration: Any, state: Any) -> Migration:
    """The migration's own facts; ``state`` is the project's before it."""
    operations = list(flatten(migration.operations))
    found = Migration(
        name="%s.%s" % (migration.app_label, migration.name),
        atomic=bool(migration.atomic),
        irreversible=any(not operation.reversible for operation in migration.operations),
        runs_python=any(runs_python(operation) for operation in operations),
    )
    for operation in operations:
        if runs_python(operation):
            for app, model in mentioned_models(operation.code):
                try:
                    table = state.apps.get_model(app, model)._meta.db_table
                except LookupError:
                    continue
                if table not in found.mentions:
                    found.mentions.append(table)
    return found


def walk_plan(executor: Any, pending: List[Any], walk: Walk) -> None:
    """Let the schema editor write the SQL of each pending migration, and the walk take it in. Changes nothing.

    One project state is carried through all of them, as ``migrate`` itself does; ``sqlmigrate`` would start anew for
    each. Introspection is answered with the constraints as they will be then (``overlay``). The connection is put into
    a read-only transaction for the time, without ``atomic()``, which operations of non-atomic migrations refuse.
    """
    from django.db import connection

    connection.set_autocommit(False)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            for name, since in UNLIMITED:
                if connection.pg_version >= since:
                    cursor.execute("SET LOCAL %s = 0" % name)
        live = connection.introspection.get_constraints

        def get_constraints(cursor: Any, table: str) -> Dict[str, Dict[str, Any]]:
            old = walk.schema.renamed_tables.get(table, table)
            known = {} if table in walk.schema.created else live(cursor, old)
            return overlay(walk.schema, table, known)

        connection.introspection.get_constraints = get_constraints
        try:
            state = executor._create_project_state(with_applied_migrations=True)
            for migration in pending:
                facts = describe(migration, state)
                state = _collect(migration, state, connection, walk, facts)
                walk.finish(facts)
        finally:
            del connection.introspection.get_constraints
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def _collect(migration: Any, state: Any, connection: Any, walk: Walk, facts: Migration) -> Any:
    """The SQL of one migration, operation by operation; returns the state after it."""
    _rendered = state.apps  # rendered once, then kept up to date by the operations: the executor does the same
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        for operation in migration.operations:
            before = state.clone()
            operation.state_forwards(migration.app_label, state)
            known = len(editor.collected_sql)
            if operation.reduces_to_sql:
                try:
                    operation.database_forwards(migration.app_label, editor, before, state)
                except (ValueError, NotImplementedError, LookupError) as error:
                    # Django's editor raises ValueError when introspection does not show what it has to drop.
                    _unknown(walk, operation, before, migration.app_label, facts, error)
            for sql in editor.collected_sql[known:]:
                walk.observe(sql)
            for part in flatten([operation]):
                if not part.reduces_to_sql and not runs_python(part) and not hasattr(part, "code"):
                    _unknown(walk, part, before, migration.app_label, facts, "it cannot be written as SQL")
        known = len(editor.collected_sql)
    for sql in editor.collected_sql[known:]:  # what the editor puts off to the end: foreign keys, indexes
        walk.observe(sql)
    return state


def _unknown(walk: Walk, operation: Any, state: Any, app: str, facts: Migration, why: object) -> None:
    name = getattr(operation, "model_name", None) or getattr(operation, "name", None)
    try:
        table = state.apps.get_model(app, name)._meta.db_table if name else ""
    except LookupError:
        table = ""
    text = "%s: its SQL cannot be shown beforehand (%s)" % (operation.describe(), why)
    facts.notes.append(text)
    walk.assume(table, text)
