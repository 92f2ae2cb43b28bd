"""Opinions on items are kept; the moments a log is split at are remembered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("category_id", sa.Integer(), nullable=False),
        sa.Column(
            "user_id",
            sa.String().with_variant(sa.String(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("item_number", sa.Integer(), nullable=False),
        sa.Column("value", sa.SmallInteger(), nullable=False),
        sa.Column("said_at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["category_id"],
            ["categories.id"],
            name=op.f("fk_feedback_category_id_categories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("category_id", "user_id", "item_number", name=op.f("pk_feedback")),
    )
    op.create_table(
        "moments",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("category_id", sa.Integer(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["category_id"],
            ["categories.id"],
            name=op.f("fk_moments_category_id_categories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_moments")),
    )
    op.create_index(op.f("ix_moments_category_id"), "moments", ["category_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_moments_category_id"), table_name="moments")
    op.drop_table("moments")
    op.drop_table("feedback")
