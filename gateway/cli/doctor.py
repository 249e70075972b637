"""`sealgate doctor`: what this kernel offers for the sandbox, and what is missing."""

from dataclasses import asdict

import typer

from gateway.cli.errors import CANNOT
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.home import Home
from gateway.settings import load
from sandbox.probe import Wall, probe


def doctor(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Ask the kernel for every wall. Exit code 3 if a required one is missing."""
    place = Home(load(home=home).home)
    walls = probe()
    able = all(wall.present for wall in walls if wall.required)
    if as_json:
        print_json(
            {
                "able": able,
                "home": str(place.path),
                "made": place.made,
                "walls": [asdict(wall) for wall in walls],
            }
        )
    else:
        print_table(("wall", "state", "found"), [_row(wall) for wall in walls])
        print_lines(f"home: {place.path} ({'made' if place.made else 'run `sealgate init`'})")
    if not able:
        raise typer.Exit(CANNOT)


def _row(wall: Wall) -> tuple[str, str, str]:
    if wall.present:
        return wall.name, "present", wall.found
    state = "MISSING" if wall.required else "absent"
    return wall.name, state, f"{wall.found}. {wall.without}"
