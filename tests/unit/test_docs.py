"""The documents say what the program has: every setting, command, route and error code."""

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from gateway.app import create_app
from gateway.cli.main import app as cli
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r'(?:code=|^(?:INTERNAL|LOG_UNAVAILABLE) = )"([a-z_]+)"', re.MULTILINE)


def commands(command, path=("sealgate",)):
    """Yield each command's words and its own long options."""
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))
        return
    options = [o for p in command.params for o in getattr(p, "opts", ()) if o.startswith("--")]
    yield " ".join(path), [o for o in options if o not in {"--home", "--json", "--help"}]


def routes(items):
    """Yield each route's methods and path, through whatever it is included by."""
    for item in items:
        if hasattr(item, "original_router"):
            yield from routes(item.original_router.routes)
        else:
            yield from ((method, item.path) for method in item.methods - {"HEAD"})


def anchor(heading):
    """Return a heading's anchor as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_documented(name):
    assert f"| `{name}` |" in OPERATIONS
    assert Settings.model_fields[name].description in OPERATIONS


def test_every_command_and_option_is_documented():
    found = dict(commands(typer.main.get_command(cli)))
    assert len(found) > 15
    rows = {line for line in OPERATIONS.splitlines() if line.startswith("| `sealgate ")}
    for words, options in found.items():
        (row,) = [row for row in rows if re.match(rf"\| `{words}[ `]", row)]
        assert [option for option in options if f"`{option}`" not in row] == [], words
    assert len(rows) == len(found)


def test_every_route_is_documented():
    names = (
        "catalogue",
        "doorkeeper",
        "answers",
        "limits",
        "policy",
        "metrics",
        "receipt",
        "recorder",
        "routes",
        "spans",
    )
    parts = dict.fromkeys(names)
    app = create_app(SimpleNamespace(settings=Settings(), **parts))._app._rest.made()
    found = set(routes(app.router.routes))
    assert ("POST", "/v1/chat/completions") in found
    for method, path in found:
        assert f"| `{method} {path}` |" in OPERATIONS


def test_every_error_code_is_documented():
    sources = [*(ROOT / "gateway").glob("*.py"), *(ROOT / "gateway" / "api").glob("*.py")]
    sources += (ROOT / "gateway" / "backends").glob("*.py")
    codes = {code for file in sources for code in CODE.findall(file.read_text(encoding="utf-8"))}
    assert {"invalid_api_key", "log_unavailable", "overloaded"} <= codes
    documented = set(re.findall(r"^\| `([a-z_]+)` \| \d{3}", OPERATIONS, re.MULTILINE))
    assert documented <= codes
    assert codes - documented == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        target, _, fragment = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target) if target else page
        assert file.exists(), link
        if fragment and file.suffix == ".md":
            headings = HEADING.findall(FENCE.sub("", file.read_text(encoding="utf-8")))
            assert fragment in {anchor(heading) for heading in headings}, link


def test_readme_is_short_and_shows_a_session():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 200
    assert any(line.startswith("$ ") for line in lines)


def test_every_dependency_of_serving_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.match(r"[a-z0-9-]+", line)[0] for line in project["dependencies"]}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    serving, extras = page.split("## Extras")
    rows = [line.split("|")[1] for line in serving.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z0-9-]+)`", "".join(rows))) == wanted
    assert set(re.findall(r"^\| `([a-z0-9]+)` \|", extras, re.MULTILINE)) >= set(
        project["optional-dependencies"]
    ) - {"demo", "dev"}
