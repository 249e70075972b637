"""The files to deploy with say what their readers take: vLLM, Kubernetes, Docker, our own docs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
OPTIONS = json.loads(
    (ROOT / "tests" / "vectors" / "vllm-0.33-options.json").read_text(encoding="utf-8")
)["options"]
PROFILES = sorted(p for p in (DEPLOY / "vllm").glob("*.yaml") if p.name != "common.yaml")
MANIFESTS = sorted(
    p for p in (DEPLOY / "kubernetes").glob("*.yaml") if p.name != "kustomization.yaml"
)


def profile(path):
    """Return a profile as it is used: the common part, then its own; no name may stand in both."""
    common = yaml.safe_load((DEPLOY / "vllm" / "common.yaml").read_text())
    own = yaml.safe_load(path.read_text())
    assert common.keys().isdisjoint(own)
    return common | own


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_vllm_has_every_option_of_a_profile(path):
    for name, value in profile(path).items():
        option = OPTIONS[f"--{name}"]
        assert (option["takes"] == "flag") == isinstance(value, bool), name
        if "choices" in option:
            assert str(value) in option["choices"], name


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_every_profile_knows_its_clients_and_keeps_tenants_apart(path):
    options = profile(path)
    assert options["ssl-cert-reqs"] == 2
    assert options["ssl-ca-certs"]
    assert options["prefix-caching-hash-algo"].startswith("sha256")
    assert options["trust-remote-code"] is options["enable-log-requests"] is False


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_vllms_own_parser_takes_a_profile(path, tmp_path):
    pytest.importorskip("vllm")
    from vllm import platforms  # noqa: PLC0415 - where it is installed
    from vllm.platforms.cpu import CpuPlatform  # noqa: PLC0415

    platforms._current_platform = CpuPlatform()
    from vllm.entrypoints.common.cli_args import make_arg_parser  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    file = tmp_path / "profile.yaml"
    file.write_text(yaml.safe_dump(profile(path)))
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(["model", "--config", str(file)])
    assert parsed.ssl_cert_reqs == 2


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.stem)
def test_kubernetes_takes_every_manifest(path):
    validate = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(path.read_text()):
        validate.validate(document, "1.37", strict=True)


def test_kustomization_lists_every_manifest():
    listed = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in MANIFESTS]


def containers():
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            spec = document.get("spec", {}).get("template", {}).get("spec", {})
            yield from spec.get("containers", ())
            yield from spec.get("initContainers", ())


def test_no_container_can_gain_rights_or_write_its_image():
    found = list(containers())
    assert found
    for container in found:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_the_gateway_is_asked_whether_it_lives_and_is_ready():
    (gateway,) = [c for c in containers() if c["name"] == "gateway"]
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_settings_that_deployments_name_exist():
    from gateway.settings import Settings  # noqa: PLC0415

    known = {f"SEALGATE_{name.upper()}" for name in Settings.model_fields}
    (gateway,) = [c for c in containers() if c["name"] == "gateway"]
    named = {each["name"] for each in gateway["env"]}
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    named |= {n for n in compose["services"]["gateway"]["environment"] if n.startswith("SEALGATE_")}
    assert named <= known


def test_settings_of_the_compose_file_are_taken(monkeypatch, tmp_path):
    from gateway.settings import Settings  # noqa: PLC0415

    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, value in compose["services"]["gateway"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert Settings(home=tmp_path).database_url == "postgresql://sealgate@database/sealgate"


def test_compose_bounds_what_its_services_log_and_use():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert service["logging"]["options"]["max-size"]
    gateway = compose["services"]["gateway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["mem_limit"]
    assert all(port.startswith("127.0.0.1:") for port in gateway["ports"])


def test_the_image_is_built_as_hadolint_wants_it():
    beside = Path(sys.executable).parent
    tool = shutil.which("hadolint", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([tool, str(DEPLOY / "Dockerfile")], capture_output=True, check=False)
    assert done.stdout == b""


def test_the_image_holds_every_package_and_runs_as_nobody_special():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    for package in ("gateway", "sandbox", "privacy", "watermark", "audit"):
        assert f"COPY {package} {package}" in lines
    assert "USER 10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
