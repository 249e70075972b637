"""Every command shows how it is used, and what it shows is something that it takes."""

import shlex

import pytest
import typer

from gateway.cli import examples
from gateway.cli.main import app


def commands(command, words=()):
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from commands(child, (*words, name))
    else:
        yield " ".join(words), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_has_examples_and_every_example_a_command():
    assert set(examples.EXAMPLES) == set(COMMANDS)
    assert all(examples.EXAMPLES.values())


@pytest.mark.parametrize("words", COMMANDS)
def test_examples_are_taken_by_their_command(words):
    for line in examples.EXAMPLES[words]:
        call = shlex.split(line.rpartition("| ")[2])
        path = words.split()
        assert call[: len(path) + 1] == ["sealgate", *path]
        # Raises for an option, a choice or a count of arguments that the command does not take.
        COMMANDS[words].make_context(words, call[len(path) + 1 :])


def test_examples_stand_under_a_commands_help():
    command = typer.main.get_command(app)
    examples.show(command)
    shown = dict(commands(command))
    assert "sealgate keys rotate --all" in shown["keys rotate"].epilog
    assert shown["doctor"].epilog.startswith("Examples:")
