"""Runs Alembic from within, on a connection that is already in a transaction.

Apart because it imports Alembic, which a database that is up to date never needs.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from storage.migrations import HEAD


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Bring the schema to a revision, inside the caller's transaction."""
    config = Config()
    # Alembic interpolates: a per cent sign in the path has to be doubled.
    here = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", here)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
