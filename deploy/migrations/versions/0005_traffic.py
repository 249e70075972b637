"""Hours of traffic, beside the log."""  # noqa: INP001 - Alembic loads it by its path.

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, unless a gateway that served made them."""
    counts = ("requests", "failures", "prompt_tokens", "completion_tokens")
    op.create_table(
        "traffic_hour",
        sa.Column("begins_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("tier", sa.String(32), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
        sa.Column("latency_p50_ms", sa.Float, nullable=False),
        sa.Column("latency_p95_ms", sa.Float, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "traffic_progress",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
