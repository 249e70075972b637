"""docs/formats says what the code does."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from audit.activity import Event
from audit.checkpoint import Checkpoint, VerifierKey, verify
from audit.events import BODY_LIMIT_BYTES
from audit.merkle import leaf_hash
from audit.proof import CONSISTENCY_FORMAT, PROOF_FORMAT, TLOG_PROOF
from audit.store import metadata
from tests.trees import root_of

FORMATS = Path(__file__).parents[3] / "docs" / "formats"
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "event-v1.schema.json",
    "title": "Sealgate event, version 1",
    **msgspec.json.schema(Event),
}


def members(schema):
    """Yield every member name that the schema defines."""
    for part in schema["$defs"].values():
        yield from part.get("properties", {})


def test_schema_file_is_the_codes_own():
    # To renew it: json.dumps(SCHEMA, indent=2) and a newline.
    stored = (FORMATS / "event-v1.schema.json").read_text(encoding="utf-8")
    assert stored == json.dumps(SCHEMA, indent=2) + "\n"


def test_event_page_names_every_field():
    page = (FORMATS / "event-v1.md").read_text(encoding="utf-8")
    missing = [name for name in members(SCHEMA) if not re.search(rf"[`.]{name}[`.]", page)]
    assert missing == []
    assert f"{BODY_LIMIT_BYTES:,}" in page


@pytest.mark.parametrize("text", [PROOF_FORMAT, CONSISTENCY_FORMAT, TLOG_PROOF])
def test_log_page_names_every_document(text):
    assert text in (FORMATS / "log-v1.md").read_text(encoding="utf-8")


def test_log_page_names_every_table_and_column():
    page = (FORMATS / "log-v1.md").read_text(encoding="utf-8")
    columns = {column.name for table in metadata.tables.values() for column in table.columns}
    names = {*metadata.tables, *columns} - {"id"}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_log_pages_example_verifies():
    page = (FORMATS / "log-v1.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page, re.MULTILINE)
    note, vkey = (re.sub(r"^    ", "", block.lstrip("\n"), flags=re.MULTILINE) for block in blocks)
    key = VerifierKey.decode(vkey)
    root = root_of(leaf_hash(entry) for entry in (b"{}", b'{"a":1}', b'{"a":2}'))
    head = verify(note, origin=key.name, public_key=key.public_key)
    assert head == Checkpoint("sealgate.local/log", 3, root)
