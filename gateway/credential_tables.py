"""The tables of credentials and of what confines each. gateway.identity reads and writes them."""

import sqlalchemy as sa

metadata = sa.MetaData()
credentials = sa.Table(
    "credential",
    metadata,
    sa.Column("id", sa.String(24), primary_key=True),
    sa.Column("key_hmac", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
)
# A credential without a row here may use every route of its role, and every model.
confinements = sa.Table(
    "credential_scope",
    metadata,
    sa.Column("credential_id", sa.String(24), primary_key=True),
    sa.Column("scope", sa.String(96), primary_key=True),
)
