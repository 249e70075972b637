"""The key that docs/formats/mark-v1.md states is the one that the keyring and gateway derive."""

import json
from pathlib import Path

from gateway.marking import PURPOSE, key_context
from privacy.derivation import bind, derive_key, number

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "mark-v1.json").read_text())["key"]
LABEL = b"sealgate/keyring-v1/derive"


def test_keyring_derives_the_mark_key_of_the_vectors():
    parts = (
        PURPOSE.encode(),
        number(VECTOR["epoch"]),
        *key_context(VECTOR["tenant"], VECTOR["epoch"]),
    )
    assert bind(LABEL, *parts).hex() == VECTOR["info"]
    derived = derive_key(bytes.fromhex(VECTOR["master"]), LABEL, *parts)
    assert derived.hex() == VECTOR["mark_key"]


def test_tenant_and_epoch_do_not_run_into_each_other():
    infos = {bind(LABEL, *key_context(t, e)) for t, e in (("ab", 1), ("a", 1), ("ab\0", 1))}
    assert len(infos) == 3
