"""The tables, and nothing about what is done with them.

Apart so that the migrations can be held against one description of the schema, and so
that it is plain that no row type leaves the package. Every column type here exists on
every database SQLAlchemy speaks to; `sqlite_with_rowid=False` is only a hint about how
SQLite lays a table out (clustered by its primary key) and is ignored elsewhere.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)


def storable(text: str) -> bool:
    r"""Say whether every database takes a text as it is.

    >>> storable("żółw 🐢"), storable("half a pair: \ud800"), storable("\0")
    (True, False, False)
    """
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


class Json(TypeDecorator[Any]):
    """JSON as text: exact for floats, infinities included, and readable in any client."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write the value compactly, keys sorted."""
        if value is None:
            return None
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        # What a model wrote may hold half of a surrogate pair, which no database takes.
        return text if storable(text) else json.dumps(value, sort_keys=True, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read it back; tuples come back as lists."""
        return None if value is None else json.loads(value)


def _id() -> String:
    """Return the type of an id of a source: compared byte by byte, as prefix search needs."""
    return String().with_variant(String(collation="C"), "postgresql")


def _category(**options: Any) -> Column[int]:
    """Return the column that ties a row to its category, and lets it go with it."""
    reference = ForeignKey("categories.id", ondelete="CASCADE")
    return Column("category_id", Integer, reference, nullable=False, **options)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

categories = Table(
    "categories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("source", String, nullable=False),
    Column("synthetic", Boolean, nullable=False),
    Column("rating_low", Float),
    Column("rating_high", Float),
    Column("people", Integer, nullable=False),
    Column("items", Integer, nullable=False),
    Column("interactions", BigInteger, nullable=False),
    Column("k_core", Integer, nullable=False),
    Column("imported_at", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("note", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    _category(),
    Column("number", Integer, nullable=False),
    Column("user_id", _id(), nullable=False),
    PrimaryKeyConstraint("category_id", "number"),
    UniqueConstraint("category_id", "user_id"),
    sqlite_with_rowid=False,
)

items = Table(
    "items",
    metadata,
    _category(),
    Column("number", Integer, nullable=False),
    Column("item_id", _id(), nullable=False),
    Column("title", Text, nullable=False),
    Column("brand", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("categories", Text, nullable=False),
    Column("price", Text, nullable=False),
    PrimaryKeyConstraint("category_id", "number"),
    UniqueConstraint("category_id", "item_id"),
)

interactions = Table(
    "interactions",
    metadata,
    _category(),
    Column("user_number", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("item_number", Integer, nullable=False),
    Column("time", BigInteger),
    Column("rating", Float),
    Column("part", SmallInteger),
    PrimaryKeyConstraint("category_id", "user_number", "position"),
    sqlite_with_rowid=False,
)

# A review names its interaction by person, item and time (NO_TIME where unknown): positions
# move when a longer file brings an earlier row, and the review must still be found.
reviews = Table(
    "reviews",
    metadata,
    _category(),
    Column("user_number", Integer, nullable=False),
    Column("item_number", Integer, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("category_id", "user_number", "item_number", "time"),
)

label_requests = Table(
    "label_requests",
    metadata,
    _category(),
    Column("number", Integer, nullable=False),
    Column("key", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("user_number", Integer, nullable=False),
    Column("event", BigInteger, nullable=False),
    Column("history", Json, nullable=False),
    Column("candidates", Json, nullable=False),
    Column("target", Integer, nullable=False),
    Column("teacher", String, nullable=False),
    Column("method", String, nullable=False),
    Column("template", String, nullable=False, server_default=""),
    Column("shift", Integer, nullable=False, server_default="0"),
    PrimaryKeyConstraint("category_id", "number"),
    UniqueConstraint("category_id", "purpose", "key", "user_number", "event"),
    Index(None, "key"),
)

soft_labels = Table(
    "soft_labels",
    metadata,
    Column("key", String, primary_key=True),
    Column("scores", Json, nullable=False),
    Column("tokens", Json, nullable=False),
    Column("status", String, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("details", Json, nullable=False),
)

label_failures = Table(
    "label_failures",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("key", String, nullable=False, index=True),
    Column("at", String, nullable=False),
    Column("status", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("host", String, nullable=False),
    Column("seconds", Float, nullable=False),
)

noise_floors = Table(
    "noise_floors",
    metadata,
    Column("teacher", String, nullable=False),
    Column("measured_at", String, nullable=False),
    Column("server", String, nullable=False),
    Column("options", String, nullable=False),
    Column("floor", Float, nullable=False),
    Column("median", Float, nullable=False),
    Column("flips", Integer, nullable=False),
    Column("comparisons", Integer, nullable=False),
    Column("details", Json, nullable=False),
    PrimaryKeyConstraint("teacher", "measured_at"),
)

unconditional_scores = Table(
    "unconditional_scores",
    metadata,
    _category(),
    Column("teacher", String, nullable=False),
    Column("item_number", Integer, nullable=False),
    Column("logprob", Float, nullable=False),
    Column("tokens", Integer, nullable=False),
    PrimaryKeyConstraint("category_id", "teacher", "item_number"),
    sqlite_with_rowid=False,
)

layer_profiles = Table(
    "layer_profiles",
    metadata,
    Column("key", String, primary_key=True),
    _category(index=True),
    Column("weights", String, nullable=False),
    Column("criterion", String, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("layers", Json, nullable=False),
    Column("low", Json, nullable=False),
    Column("high", Json, nullable=False),
    Column("artifact", String, nullable=False),
    Column("details", Json, nullable=False),
    Column("made_at", String, nullable=False, server_default=""),
)

# Found by the hash of what decides them, so they belong to no category and outlive it.
layer_values = Table(
    "layer_values",
    metadata,
    Column("key", String, primary_key=True),
    Column("request", String, nullable=False),
    Column("measure", String, nullable=False, index=True),
    Column("arrays", LargeBinary, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("made_at", String, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    _category(index=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("config", Json, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("artifact", String, nullable=False),
    Column("selection", Float),
    Column("final", Boolean, nullable=False, server_default=false()),
)

# A figure that is not a number, such as a spread of one person, is stored as NULL.
measurements = Table(
    "measurements",
    metadata,
    Column("run", String, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("scope", String, nullable=False),
    Column("metric", String, nullable=False),
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("n", Integer, nullable=False),
    Column("people", Integer, nullable=False),
    Column("artifact", String, nullable=False, server_default=""),
    PrimaryKeyConstraint("run", "scope", "metric"),
)

feedback = Table(
    "feedback",
    metadata,
    _category(),
    Column("user_id", _id(), nullable=False),
    Column("item_number", Integer, nullable=False),
    Column("value", SmallInteger, nullable=False),
    Column("said_at", String, nullable=False),
    PrimaryKeyConstraint("category_id", "user_id", "item_number"),
)

# Where a log is cut in time. Worked out from all its rows, so kept: the key names the data.
moments = Table(
    "moments",
    metadata,
    Column("key", String, primary_key=True),
    _category(index=True),
    Column("time", BigInteger),
)
