import tomllib
from pathlib import Path

import pytest

from gateway.errors import SettingsInvalid
from gateway.settings import FILE_NAME, Settings, load

EXAMPLE = Path(__file__).resolve().parents[3] / "deploy" / "sealgate.example.toml"


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEALGATE_{name.upper()}", raising=False)
    return tmp_path


def write(home, text):
    (home / FILE_NAME).write_text(text)


def test_argument_wins_over_environment_over_file_over_default(home, monkeypatch):
    assert load(home=home).port == 8080
    write(home, "port = 1001\nworkers = 3\n")
    assert load(home=home).port == 1001
    monkeypatch.setenv("SEALGATE_PORT", "1002")
    assert load(home=home).port == 1002
    assert load(home=home, port=1003).port == 1003
    assert load(home=home, port=1003).workers == 3


def test_home_comes_from_the_environment_and_is_absolute(home, monkeypatch):
    monkeypatch.setenv("SEALGATE_HOME", "~/somewhere")
    assert load().home == Path("~/somewhere").expanduser()


def test_file_cannot_move_the_home_it_lies_in(home):
    write(home, 'home = "/elsewhere"\n')
    assert load(home=home).home == home


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 1\n", "prot"),
        ("port = 70000\n", "port"),
        ('workers = "many"\n', "workers"),
        ('origin = "two words"\n', "origin"),
        ("port = \n", FILE_NAME),
    ],
)
def test_mistake_is_named_in_one_line(home, text, named):
    write(home, text)
    with pytest.raises(SettingsInvalid) as error:
        load(home=home)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_value_of_the_environment_is_named(home, monkeypatch):
    monkeypatch.setenv("SEALGATE_QUEUE_S", "-1")
    with pytest.raises(SettingsInvalid, match="queue_s"):
        load(home=home)


def test_example_file_names_every_setting_with_its_default_and_description():
    text = EXAMPLE.read_text()
    settings = Settings.model_fields
    enabled = "\n".join(
        line.removeprefix("# ") if line.startswith(tuple(f"# {n} =" for n in settings)) else ""
        for line in text.splitlines()
    )
    shown = tomllib.loads(enabled)
    assert set(shown) == set(settings)
    for name, field in settings.items():
        assert field.description in text, name
        if field.default is not None:
            assert Path(shown[name]) == field.default if name == "home" else True
            assert name == "home" or shown[name] == field.default, name
    # Copied as it stands it changes nothing.
    assert tomllib.loads(text) == {}
