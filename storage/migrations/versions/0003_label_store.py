"""Requests know their wording and their order; failures and noise floors are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    template = sa.Column("template", sa.String(), nullable=False, server_default="")
    op.add_column("label_requests", template)
    shift = sa.Column("shift", sa.Integer(), nullable=False, server_default="0")
    op.add_column("label_requests", shift)
    op.create_table(
        "label_failures",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_label_failures")),
    )
    op.create_index(op.f("ix_label_failures_key"), "label_failures", ["key"], unique=False)
    op.create_table(
        "noise_floors",
        sa.Column("teacher", sa.String(), nullable=False),
        sa.Column("measured_at", sa.String(), nullable=False),
        sa.Column("server", sa.String(), nullable=False),
        sa.Column("options", sa.String(), nullable=False),
        sa.Column("floor", sa.Float(), nullable=False),
        sa.Column("median", sa.Float(), nullable=False),
        sa.Column("flips", sa.Integer(), nullable=False),
        sa.Column("comparisons", sa.Integer(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("teacher", "measured_at", name=op.f("pk_noise_floors")),
    )


def downgrade() -> None:
    op.drop_table("noise_floors")
    op.drop_index(op.f("ix_label_failures_key"), table_name="label_failures")
    op.drop_table("label_failures")
    op.drop_column("label_requests", "shift")
    op.drop_column("label_requests", "template")
