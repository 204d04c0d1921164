"""dbt's connections, kept by each of its threads from node to node.

dbt connects anew for each node. That is a login, a process of Postgres, and its catalogue read again: more than most
nodes of a small warehouse take themselves.
"""

from __future__ import annotations

from dbt.adapters.postgres.connections import PostgresConnectionManager
from dbt.adapters.postgres.impl import PostgresAdapter
from psycopg2 import Error


def keep() -> None:
    """Let the adapters that are made from here on keep their connections; the end of a command closes them."""
    PostgresAdapter.ConnectionManager = _KeptConnections


class _KeptConnections(PostgresConnectionManager):
    """Hands a connection to the next node as if it were new."""

    def release(self) -> None:
        connection = self.get_if_exists()
        # A role is taken on at login, and would be forgotten with the rest.
        if connection is None or connection.state != "open" or connection.credentials.role:
            super().release()
            return
        try:
            connection.handle.rollback()
            connection.transaction_open = False
            # Settings, temporary tables and locks of the node: none may reach the next. Not allowed in a transaction.
            connection.handle.autocommit = True
            with connection.handle.cursor() as cursor:
                cursor.execute("discard all")
            connection.handle.autocommit = connection.credentials.autocommit is True
        except Error:
            # It is broken; the next node gets a new one.
            super().release()
