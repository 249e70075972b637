"""`sealgate policy`: what a policy file decides, and why."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import JsonOption, print_json, print_lines
from gateway.identity import Principal, Role
from gateway.policy import Policy, Rule, load
from privacy.deidentify import find

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
        caller, declared=data_class, purpose=purpose, identifying=lambda: bool(find(text))
    )
    fits = (ruling.data_class, ruling.purpose, role.value, tenant)
    steps = [{"rule": r.name, "why": _why(r, fits)} for r in _tried(loaded, ruling.rule)]
    told: dict[str, Any] = {
        "policy": loaded.digest,
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
    if as_json:
        print_json(told | {"steps": steps})
        return
    print_lines(*(f"{name:<15}{_shown(value)}" for name, value in told.items()))
    print_lines(*(f"  {step['rule']}: {step['why']}" for step in steps))


def _tried(policy: Policy, last: Rule) -> list[Rule]:
    """Return the rules up to the one that decided."""
    return list(policy.file.rule[: policy.file.rule.index(last) + 1])


def _why(rule: Rule, fits: tuple[str, str, str, str]) -> str:
    lists = (rule.classes, rule.purposes, rule.roles, rule.tenants)
    names = ("class", "purpose", "role", "tenant")
    for name, value, allowed in zip(names, fits, lists, strict=True):
        if allowed is not None and value not in allowed:
            return f"passed over, the {name} {value} is not among {', '.join(allowed)}"
    return "fits, and decides"


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
