"""What each request said about the layers is kept; profiles know when they were made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "layer_values",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("measure", sa.String(), nullable=False),
        sa.Column("arrays", sa.LargeBinary(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("made_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_layer_values")),
    )
    op.create_index(op.f("ix_layer_values_measure"), "layer_values", ["measure"], unique=False)
    made_at = sa.Column("made_at", sa.String(), nullable=False, server_default="")
    op.add_column("layer_profiles", made_at)


def downgrade() -> None:
    op.drop_column("layer_profiles", "made_at")
    op.drop_index(op.f("ix_layer_values_measure"), table_name="layer_values")
    op.drop_table("layer_values")
