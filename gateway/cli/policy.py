"""`sealgate policy`: what a policy file decides, and why."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import JsonOption, note, print_json, print_lines
from gateway.explaining import Step
from gateway.explaining import steps as explained
from gateway.identity import Principal, Role
from gateway.policy import Ruling, load
from privacy.identifiers import identifies

app = typer.Typer(help="The policy file: explain its decisions.", no_args_is_help=True)


@app.callback()
def policy() -> None:
    """Keep `check` a command of its own."""


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="The policy file; the built-in policy if absent.")
    ] = None,
    *,
    data_class: Annotated[str | None, typer.Option(help="The class that the caller says.")] = None,
    purpose: Annotated[str | None, typer.Option(help="The purpose that the caller says.")] = None,
    role: Annotated[Role, typer.Option(help="The caller's role.")] = Role.CLIENT,
    tenant: Annotated[str, typer.Option(help="The caller's tenant.")] = "example",
    text_file: Annotated[
        Path | None, typer.Option(help="A text to look for identifiers in.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain what the policy decides about a request: each rule, and what then holds."""
    loaded = load(file)
    text = text_file.read_text(encoding="utf-8") if text_file else ""
    caller = Principal("cred_example", tenant, "example", role)
    ruling = loaded.rule(
        caller, declared=data_class, purpose=purpose, identifying=lambda: identifies(text)
    )
    steps = explained(
        loaded,
        data_class=ruling.data_class,
        purpose=ruling.purpose,
        role=role.value,
        tenant=tenant,
    )
    told_steps = [{"rule": step.rule.name, "why": _why(step)} for step in steps]
    told = _told(ruling)
    if as_json:
        print_json(told | {"steps": told_steps})
        return
    print_lines(*(f"{name:<15}{_shown(value)}" for name, value in told.items()))
    print_lines(*(f"  {step['rule']}: {step['why']}" for step in told_steps))
    note("A serving gateway takes a changed policy file on SIGHUP; until then the earlier holds.")


def _told(ruling: Ruling) -> dict[str, Any]:
    """Return what the policy decides, by name."""
    return {
        "policy": ruling.digest,
        "data_class": ruling.data_class,
        "raised": ruling.raised,
        "purpose": ruling.purpose,
        "rule": ruling.rule.name,
        "tiers": list(ruling.rule.tiers),
        "marking": ruling.rule.marking,
        "redaction": ruling.rule.redaction,
        "label": ruling.rule.label,
        "retention_days": ruling.rule.retention_days,
    }


def _why(step: Step) -> str:
    if step.about is None:
        return "fits, and decides"
    return f"passed over, the {step.about} {step.value} is not among {', '.join(step.allowed)}"


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
