"""Settings: one TOML file in the home, overridden by `SEALGATE_*`. Read here and nowhere else.

No secret is a setting: a passphrase or key comes from a file that a setting names.
"""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.errors import SettingsInvalid
from gateway.home import Home

DEFAULT_HOME = Path("~/.local/share/sealgate")
FILE_NAME = "sealgate.toml"


class Settings(BaseSettings):
    """Everything an operator can set, with units in the names."""

    model_config = SettingsConfigDict(env_prefix="SEALGATE_", frozen=True, extra="forbid")

    home: Path = Field(default=DEFAULT_HOME, description="Directory that holds all state.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 picks one.")
    origin: str = Field(
        default="sealgate.local/log",
        pattern=r"^[^\s+]+$",
        description=(
            "Origin line of the log's checkpoints. Name your deployment before `sealgate init`: a "
            "log keeps its name, and is not opened under another."
        ),
    )
    key_file: Path | None = Field(
        default=None, description="Key file that unlocks the keyring without a person."
    )
    passphrase_file: Path | None = Field(
        default=None, description="File whose first line is the keyring's passphrase."
    )
    custodian_file: Path | None = Field(
        default=None,
        description="TOML file that names a service or token that unlocks the keyring.",
    )
    workers: int = Field(default=2, ge=1, le=64, description="Ready sandboxes kept per model.")
    concurrency: int = Field(
        default=4, ge=1, le=256, description="Answers generated at once per model; others wait."
    )
    queue_s: float = Field(
        default=30.0, gt=0, description="Longest wait for a sandbox before 503, in seconds."
    )
    queue_limit: int = Field(
        default=64, ge=0, description="Most choices that wait for a model; more get 503 at once."
    )
    deadline_s: float = Field(
        default=120.0, gt=0, description="Longest generation of one choice, in seconds."
    )
    batch_limit: int = Field(
        default=1,
        ge=1,
        le=8,
        description="Most answers of one tenant that a sandbox generates together; 1 shares none.",
    )
    batch_window_ms: int = Field(
        default=10,
        ge=0,
        le=50,
        description="Wait for others to share a sandbox with, in milliseconds, where some may.",
    )
    body_limit_bytes: int = Field(
        default=2 << 20, ge=1024, description="Largest request body, in bytes."
    )
    output_limit_tokens: int = Field(
        default=2048, ge=1, description="Most tokens of one choice; a larger max_tokens is refused."
    )
    default_max_tokens: int = Field(
        default=512, ge=1, description="Most tokens of a choice when the request names no limit."
    )
    top_k: int = Field(
        default=100, ge=1, description="Candidates kept before top_p when a request names none."
    )
    verifications_per_minute: int = Field(
        default=30, ge=1, description="Texts that one credential may have traced in a minute."
    )
    wrong_keys_per_minute: int = Field(
        default=20, ge=1, description="Wrong keys from one address in a minute before 429."
    )
    oidc_issuer: str | None = Field(
        default=None, description="OpenID Connect issuer whose tokens are taken; none if absent."
    )
    oidc_audience: str = Field(
        default="sealgate", description="Audience that a token must be issued for."
    )
    oidc_tenant_claim: str = Field(
        default="sealgate_tenant", description="Claim of a token that names its tenant."
    )
    oidc_role_claim: str = Field(
        default="sealgate_role", description="Claim of a token that names its role."
    )
    console: bool = Field(default=True, description="Whether the console is served at /console.")
    console_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#\s]+/?$",
        description="Address that browsers reach the console at, behind a proxy that ends TLS.",
    )
    console_idle_s: float = Field(
        default=900.0,
        ge=10,
        le=86_400,
        description="Time without a request after which a console session ends, in seconds.",
    )
    console_session_s: float = Field(
        default=28_800.0, ge=10, le=604_800, description="Longest console session, in seconds."
    )
    console_oidc_client: str | None = Field(
        default=None, description="Client id of the console at the issuer; none if absent."
    )
    console_oidc_secret_file: Path | None = Field(
        default=None, description="File whose first line is that client's secret, if it has one."
    )
    console_key_changes: bool = Field(
        default=False, description="Whether keys may be rotated and destroyed in the console."
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate chain that TLS is served with."
    )
    tls_key: Path | None = Field(default=None, description="PEM file of that certificate's key.")
    tls_client_ca: Path | None = Field(
        default=None, description="PEM file of authorities whose client certificates are taken."
    )
    policy_file: Path | None = Field(
        default=None, description="TOML file of the policy; the built-in one if absent."
    )
    admin_host: str = Field(default="127.0.0.1", description="Address that metrics are served on.")
    admin_port: int | None = Field(
        default=None, ge=0, le=65535, description="Port that metrics are served on; none if absent."
    )
    presidio: bool = Field(
        default=False, description="Whether Presidio looks for identifiers as well, if installed."
    )
    otlp_endpoint: str | None = Field(
        default=None, description="OTLP/HTTP receiver that spans are sent to; none if absent."
    )
    otlp_headers_file: Path | None = Field(
        default=None, description="File of headers for that receiver, one `name: value` a line."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Form of the lines on standard error: text or json."
    )
    tiers_file: Path | None = Field(
        default=None, description="TOML file of remote tiers and of routing between them."
    )
    acknowledgement_s: float = Field(
        default=0.25, gt=0, description="Longest wait for the log before 503, in seconds."
    )
    database_url: str | None = Field(
        default=None,
        pattern=r"^postgresql://(?:[^:/@?]*@)?[^@]*$",
        description="UTF-8 PostgreSQL for several gateways' log and credentials; no password.",
    )
    tiles_directory: Path | None = Field(
        default=None, description="Directory that the log's tiles are published in as files."
    )
    retention_days: int = Field(
        default=2192, ge=1, description="Days that entries are kept at least: six years."
    )
    keep_content: bool = Field(
        default=False,
        description="Whether text is kept, encrypted, for the retention_days of the policy's rule.",
    )
    anchor_every_s: float = Field(
        default=60.0, ge=1, description="Time between two anchors of the log, in seconds."
    )
    anchor_file: Path | None = Field(
        default=None, description="Append-only file, in another directory, that checkpoints go to."
    )
    anchor_timestamp_url: str | None = Field(
        default=None, description="RFC 3161 authority that stamps checkpoints."
    )
    anchor_timestamp_roots: Path | None = Field(
        default=None, description="PEM file of the roots of that authority's certificate."
    )
    anchor_witness_url: str | None = Field(
        default=None, description="C2SP witness that cosigns checkpoints."
    )
    anchor_witness_key: str | None = Field(
        default=None, description="That witness's verifier key, name+id+key."
    )
    anchor_s3_bucket: str | None = Field(
        default=None, description="Bucket with object lock that checkpoints go to."
    )
    anchor_s3_prefix: str = Field(default="", description="Prefix of the objects in that bucket.")
    anchor_s3_endpoint: str | None = Field(
        default=None, description="Endpoint of that bucket's service; AWS if absent."
    )

    @property
    def log_location(self) -> Path | str:
        """Where log and credentials lie: a database's URL, or the file in the home."""
        return self.database_url or Home(self.home).database


def load(**overrides: Any) -> Settings:
    """Return the settings: `overrides` over `SEALGATE_*` over the home's TOML file over defaults.

    Raises:
        SettingsInvalid: The file is not TOML, or a name or value is wrong.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        home = Settings(**given).home.expanduser().absolute()
        environment = Settings().model_fields_set
        file = {k: v for k, v in _read(home / FILE_NAME).items() if k not in environment}
        return Settings(**{**file, **given, "home": home})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsInvalid(
            f"Setting {name!r}: {first['msg']}. Correct it and try again."
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{path} is not TOML: {error}.") from None
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.") from None
