"""The files that run are the files that were installed, or the doctor says which are not."""

import base64
import hashlib
import json
from importlib.metadata import PathDistribution

import pytest

from gateway import installed

CODE = b"answer = 42\n"


def _line(name, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


@pytest.fixture
def wheel(tmp_path):
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway/app.py").write_bytes(CODE)
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit/log.py").write_bytes(CODE)
    metadata = tmp_path / "sealgate-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sealgate\nVersion: 1.0\n")
    (metadata / "RECORD").write_text(
        _line("gateway/app.py", CODE)
        + _line("audit/log.py", CODE)
        + "sealgate-1.0.dist-info/RECORD,,\n"
    )
    return tmp_path, PathDistribution(metadata)


def test_untouched_files_are_intact(wheel):
    found = installed.compare(wheel[1])
    assert (found.version, found.recorded, found.compared) == ("1.0", True, 2)
    assert found.intact


def test_an_altered_file_is_named(wheel):
    (wheel[0] / "gateway/app.py").write_bytes(CODE + b"#")
    found = installed.compare(wheel[1])
    assert found.altered == ("gateway/app.py",)
    assert not found.intact


def test_a_missing_file_is_named(wheel):
    (wheel[0] / "audit/log.py").unlink()
    found = installed.compare(wheel[1])
    assert found.missing == ("audit/log.py",)
    assert not found.intact


def test_a_foreign_file_is_named_and_byte_code_is_not(wheel):
    (wheel[0] / "gateway/extra.py").write_bytes(CODE)
    (wheel[0] / "gateway/__pycache__").mkdir()
    (wheel[0] / "gateway/__pycache__/app.cpython-311.pyc").write_bytes(b"")
    found = installed.compare(wheel[1])
    assert found.foreign == ("gateway/extra.py",)
    assert not found.intact


def test_a_working_tree_has_nothing_to_compare(wheel):
    origin = {"url": "file:///somewhere", "dir_info": {"editable": True}}
    (wheel[0] / "sealgate-1.0.dist-info/direct_url.json").write_text(json.dumps(origin))
    (wheel[0] / "gateway/app.py").write_bytes(b"")
    found = installed.compare(wheel[1])
    assert not found.recorded
    assert found.intact
