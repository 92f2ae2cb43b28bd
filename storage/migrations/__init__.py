"""The schema's history. A released revision is never edited; a change is a new one.

To add one: change `storage/tables.py`, write the next file in `versions/`, append its
number to KNOWN. A test compares both, and migrates a database with rows in it.
"""

from __future__ import annotations

KNOWN = ("0001", "0002", "0003", "0004", "0005")
"""Revisions in order. Kept here too, so that an open that has nothing to do skips Alembic."""

HEAD = KNOWN[-1]

VERSION_TABLE = "recsys_schema"
"""Named apart from Alembic's default: another program may share a PostgreSQL database."""
