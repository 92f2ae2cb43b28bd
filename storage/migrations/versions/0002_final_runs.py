"""Runs know whether they were retrained for serving; figures know the rows behind them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    final: sa.Column[bool] = sa.Column(
        "final", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("runs", final)
    artifact = sa.Column("artifact", sa.String(), nullable=False, server_default="")
    op.add_column("measurements", artifact)


def downgrade() -> None:
    op.drop_column("measurements", "artifact")
    op.drop_column("runs", "final")
