"""The tutorial, word for word: its commands in their order, in an empty directory.

What the page prints is compared line by line. What differs from run to run (ids, keys, digests,
times, numbers) has to have its form, and an id or key that the page repeats has to be the one
that this run printed before: so the test pastes what a reader would paste.
"""

import os
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import ports

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
FENCE = re.compile(r'^```(console|python title="([\w.]+)")\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# The page's own port and directory.
PORT, PLACE = "8080", "/srv/try"
# What a later command may repeat from an earlier output.
NAMED = (r"req_[0-9a-f]{24}", r"sealgate\.local/log\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+")
# What has a form, on the page and here, and no more. A nought is meant as it stands: `FAIL 0`.
LOOSE = (
    (r"sha256:[0-9a-f]{64}",) * 2,
    (r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00",) * 2,
    (r"\d[\d.]*e-\d+",) * 2,
    (r"characters \d+ to \d+",) * 2,
    (r"^\d+ tokens",) * 2,
    (r" +[1-9]\d*\b(?!-|\.\d)", r" +\d+"),
)
TOKEN = re.compile("|".join(f"({form})" for form in [*NAMED, *(shown for shown, _ in LOOSE)]))
FORMS = [*NAMED, *(printed for _, printed in LOOSE)]
COMMAND_LIMIT_S = 120
# An answer that the model ends before this leaves the mark little to hold on to; one in some
# hundred does. The page's reader would ask again, and so does the test.
SHORTEST_ANSWER, ASKED_AT_MOST = 300, 4


@dataclass
class Terminal:
    """One shell for the whole page, as its reader has."""

    place: Path
    environment: dict
    shell: subprocess.Popen = field(init=False)

    def __post_init__(self):
        self.shell = subprocess.Popen(
            ["/bin/bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.place,
            env=self.environment,
        )

    def run(self, command):
        """Return a command's output, of both streams, and its exit code."""
        end = f"END-{os.urandom(8).hex()}"
        script = f"{command}\ncode=$?; echo '{end}' $code; (exit $code)\n"
        self.shell.stdin.write(script.encode())
        self.shell.stdin.flush()
        output = self.read_until(re.compile(rf"^{end} (\d+)\n", re.MULTILINE))
        return output[: output.index(end)], int(output.rsplit(maxsplit=1)[1])

    def read_until(self, pattern):
        descriptor, output, deadline = self.shell.stdout.fileno(), b"", time.monotonic()
        deadline += COMMAND_LIMIT_S
        while not pattern.search(output.decode(errors="replace")):
            ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            data = os.read(descriptor, 65536) if ready else b""
            if not data:
                pytest.fail(f"The command did not end, or its shell did: {output.decode()}")
            output += data
        return output.decode()

    def close(self):
        self.shell.stdin.close()
        self.shell.terminate()
        self.shell.wait(timeout=60)
        self.shell.stdout.close()


def blocks():
    """Yield the page's files and its commands, each with the lines that it should print."""
    for kind, name, text in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if name:
            yield name, text
            continue
        assert kind == "console"
        for block in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = block.partition("\n")
            yield command, expected.splitlines()


def matching(expected, bound):
    """Return the pattern of an expected output, and what its groups will bind."""
    parts, wanted = [], []
    for line in expected:
        if line == "[...]":
            parts.append(r"(?:.*\n)*?")
            continue
        position, made = 0, ""
        for token in TOKEN.finditer(line):
            made += re.escape(line[position : token.start()])
            position, form = token.end(), FORMS[token.lastindex - 1]
            if form not in NAMED:
                made += form
            elif token[0] in bound:
                made += re.escape(bound[token[0]])
            elif token[0] in wanted:
                made += rf"\{wanted.index(token[0]) + 1}"
            else:
                wanted.append(token[0])
                made += f"({form})"
        parts.append(made + re.escape(line[position:]) + r"\n")
    return re.compile("".join(parts)), wanted


@pytest.fixture
def port():
    return str(ports.unused())


@pytest.fixture
def terminals(tmp_path, port):
    """Two terminals in an empty directory, with the installed commands and nothing else set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALGATE_")}
    environment = kept | {
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        "HOME": str(tmp_path),
        "SEALGATE_PORT": port,
        # A busy machine's disk may take longer; no_proxy keeps the client on this machine.
        "SEALGATE_ACKNOWLEDGEMENT_S": "10",
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
    }
    opened = [Terminal(tmp_path, environment) for _ in range(2)]
    yield opened
    for terminal in opened:
        terminal.close()


def start(terminal, command, expected):
    """Run what the page leaves running; return its process id."""
    terminal.shell.stdin.write(f"exec {command}\n".encode())
    terminal.shell.stdin.flush()
    pattern, _ = matching(expected, {})
    terminal.read_until(pattern)
    return terminal.shell.pid


def with_bound(command, bound):
    for shown, printed in bound.items():
        command = command.replace(shown, printed)
    return command


def run(terminal, command, place):
    """Run a command; ask once more where the answer is too short to go on with."""
    for _ in range(ASKED_AT_MOST if command == "python ask.py" else 1):
        output, code = terminal.run(command)
        answer = place / "answer.txt"
        if code or not answer.exists() or len(answer.read_text()) >= SHORTEST_ANSWER:
            break
    return output, code


def test_every_command_of_the_tutorial_does_what_the_page_says(terminals, tmp_path, port):
    second, first = terminals
    bound, serving = {}, None
    steps = list(blocks())
    assert len(steps) > 10
    for number, (step, expected) in enumerate(steps):
        if isinstance(expected, str):
            (tmp_path / step).write_text(expected.replace(PORT, port))
            continue
        lines = [line.replace(PLACE, str(tmp_path)).replace(PORT, port) for line in expected]
        if step == "sealgate serve":
            serving = start(first, step, lines)
            continue
        output, code = run(second, with_bound(step, bound), tmp_path)
        if step.startswith("export "):
            first.run(step)
        pattern, wanted = matching(lines, bound)
        match = pattern.fullmatch(output)
        assert match, f"{step}\n{output}\nwhere the page says\n" + "\n".join(expected)
        bound |= dict(zip(wanted, match.groups(), strict=True))
        # A failure that the page means to show is followed by a look at its code.
        assert code == 0 or steps[number + 1][0] == "echo $?", step
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    os.kill(serving, signal.SIGTERM)
    assert first.shell.wait(timeout=60) == 0
