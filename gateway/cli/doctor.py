"""`sealgate doctor`: what this kernel offers for the sandbox, and whether our files are intact."""

from dataclasses import asdict

import typer

from gateway import installed
from gateway.cli.errors import CANNOT, FAILED
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.home import Home
from gateway.installed import Installed
from gateway.settings import load
from sandbox.probe import Wall, probe


def doctor(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Ask the kernel for every wall, and compare the installed files with the wheel's RECORD.

    Exit code 3 if a required wall is missing, 1 if a file is not what was installed.
    """
    place = Home(load(home=home).home)
    walls = probe()
    files = installed.compare()
    able = all(wall.present for wall in walls if wall.required)
    if as_json:
        print_json(
            {
                "able": able,
                "home": str(place.path),
                "made": place.made,
                "walls": [asdict(wall) for wall in walls],
                "files": {**asdict(files), "intact": files.intact},
            }
        )
    else:
        print_table(("wall", "state", "found"), [_row(wall) for wall in walls])
        print_lines(
            f"home: {place.path} ({'made' if place.made else 'run `sealgate init`'})",
            f"files: {_told(files)}",
        )
    if not able:
        raise typer.Exit(CANNOT)
    if not files.intact:
        raise typer.Exit(FAILED)


def _told(files: Installed) -> str:
    if not files.recorded:
        return f"{files.version} runs from a working tree: there is no RECORD to compare with"
    wrong = [
        f"{name} {what}"
        for what, names in (
            ("was altered", files.altered),
            ("is missing", files.missing),
            ("was not installed by the wheel", files.foreign),
        )
        for name in names
    ]
    if not wrong:
        return f"{files.version}, all {files.compared} as the wheel's RECORD lists them"
    return f"{'; '.join(wrong)}. Install sealgate {files.version} anew from a wheel you trust."


def _row(wall: Wall) -> tuple[str, str, str]:
    if wall.present:
        return wall.name, "present", wall.found
    state = "MISSING" if wall.required else "absent"
    return wall.name, state, f"{wall.found}. {wall.without}"
