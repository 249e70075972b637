"""Alembic's environment: bring a log's database, named by `-x url=…`, to this version's tables.

Each revision is one transaction under the log's own lock, so that gateways may go on meanwhile.
"""  # noqa: INP001 - Alembic loads it by its path.

from pathlib import Path

from alembic import context

from audit.schema import metadata
from audit.store import existing_log, writing


def migrate() -> None:
    """Run the migrations against the database that the command line names."""
    given = (
        context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True)["url"]
    )
    engine = existing_log(given if given.startswith("postgresql:") else Path(given))
    try:
        with writing(engine).begin() as connection:
            context.configure(connection=connection, target_metadata=metadata)
            context.run_migrations()
    finally:
        engine.dispose()


migrate()
