"""A home of a test's own, and the command line run in this process."""

import pytest

from gateway.cli import main
from gateway.settings import Settings


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where the commands' home will be; `key` beside it opens it."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEALGATE_{name.upper()}", raising=False)
    monkeypatch.setenv("SEALGATE_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("SEALGATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def sealgate(home, monkeypatch, capsys):
    """Runs one command in this process; returns exit code, standard output and error."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["sealgate", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main.main()
        told = capsys.readouterr()
        return left.value.code or 0, told.out, told.err

    assert run("init")[0] == 0
    return run
