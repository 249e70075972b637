"""A remote endpoint gets what it must, gives what it may, and every way it fails has an end."""

import asyncio
import ssl
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends import scrape
from gateway.backends.base import Ask, Capabilities, Complete, Text, Usage
from gateway.backends.events import EventReader, Expected
from gateway.backends.profiles import PROFILES, VLLM
from gateway.backends.remote import Patience, Remote, RemoteBackend
from gateway.backends.transport import Certificates, Transport
from gateway.errors import SettingsInvalid, UpstreamFailed
from tests.unit.gateway import upstreams
from tests.waiting import LoopClock
from watermark.argument import ARGUMENT, Mark, packed, unpacked

event, DONE = upstreams.event, upstreams.DONE

# A busy machine may take long to say what comes; what never comes is soon given up.
LONG = Patience(connect_s=60, first_token_s=60, stall_s=60, deadline_s=120, probe_s=60)
QUICK = replace(LONG, first_token_s=0.3, stall_s=0.2, deadline_s=1.0)


def ask(**changes):
    values = {
        "request_id": "req_1",
        "tenant": "clinic",
        "turns": [{"role": "user", "content": "Hello", "cache_salt": "mine"}],
        "max_tokens": 8,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stops": ("END",),
        "seed": 7,
    }
    return Ask(**(values | changes))


@asynccontextmanager
async def backend_to(upstream, *, profile=VLLM, patience=LONG, certificates=None):
    transport = Transport(
        upstream.url,
        paths=profile.paths,
        certificates=certificates,
        connect_s=patience.connect_s,
    )
    remote = Remote(
        "edge-1", "edge", upstreams.MODEL, profile, Capabilities(4096, 512), patience=patience
    )
    backend = RemoteBackend(remote, transport, salt=lambda tenant: f"salt-of-{tenant}")
    try:
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def pair(**options):
    async with upstreams.serving() as upstream, backend_to(upstream, **options) as backend:
        yield upstream, backend


async def collect(backend, question=None):
    return [item async for item in backend.generate(question or ask())]


async def test_an_answer_comes_in_pieces_and_says_where_from():
    async with pair() as (_, backend):
        *pieces, end = await collect(backend)
    assert pieces == [Text("Hel"), Text("lo"), Text("!")]
    assert end == Complete(
        "stop",
        Usage(7, 3, counted=True),
        {
            "endpoint": "edge-1",
            "tier": "edge",
            "upstream_model": upstreams.MODEL,
            "server": "vllm",
            "mutual_tls": False,
        },
    )


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
async def test_only_what_is_meant_is_sent(profile):
    async with pair(profile=profile) as (upstream, backend):
        await collect(backend)
    (body,) = upstream.bodies
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    expected = {"model", "messages", "stream", "stream_options", "n", "max_tokens", "temperature"}
    expected |= {"top_p", "stop", "seed", *profile.unshared}
    expected |= {"cache_salt"} if profile.salted else set()
    expected |= {"top_k"} if profile.top_k else set()
    assert body.keys() == expected
    if profile.salted:
        assert body["cache_salt"] == "salt-of-clinic"
    (headers,) = upstream.headers
    assert {"Cookie", "Authorization"}.isdisjoint(headers)


async def test_a_mark_goes_to_a_server_that_loads_the_processor_and_to_no_other():
    mark = Mark(b"k" * 32, 7)
    for profile in PROFILES.values():
        async with pair(profile=profile) as (upstream, backend):
            await collect(backend, ask(mark=mark))
        (body,) = upstream.bodies
        if profile.name == "vllm":
            assert unpacked(body["vllm_xargs"][ARGUMENT]) == mark
        else:
            assert "vllm_xargs" not in body
    assert packed(mark) not in repr(ask(mark=mark))


async def test_tenants_have_salts_of_their_own():
    async with pair() as (upstream, backend):
        await collect(backend, ask(tenant="a"))
        await collect(backend, ask(tenant="b"))
    assert [body["cache_salt"] for body in upstream.bodies] == ["salt-of-a", "salt-of-b"]


FAILURES = {
    "other_model": [event("x", model="another")],
    "garbage json": [b"data: {nonsense\n\n"],
    "garbage shape": [b'data: {"model": "upstream-model", "choices": 5}\n\n'],
    "garbage text": [event(["list"])],
    "garbage flood": [event("x" * 1000)] * 3,
    "garbage endless line": [b"data: " + b"x" * (1 << 20), b"y" * 10],
    "garbage usage": [event(usage={"prompt_tokens": -1, "completion_tokens": 10**9})],
    "garbage reason": [event("x", reason="tool_calls")],
    "refused": [b'data: {"error": {"message": "secret prompt"}}\n\n'],
    "cut": [event("Hel"), DONE],
    "cut short": [event("Hel"), "drop"],
    "stalled": [event("Hel"), 5.0],
    "stalled before": [5.0],
    "stalled dripping": [event("x"), 0.15] * 20,
    "cut empty": [],
}


@pytest.mark.parametrize("case", FAILURES)
async def test_each_way_to_fail_has_its_name(case):
    patience = QUICK if case.startswith("stalled") else LONG
    async with pair(patience=patience) as (upstream, backend):
        upstream.script = FAILURES[case]
        with pytest.raises(UpstreamFailed) as failure:
            await asyncio.wait_for(collect(backend), 60)
        expected = {"stalled dripping": {"stalled", "cut", "garbage"}}
        assert failure.value.reason in expected.get(case, {case.split()[0]})
        assert "secret" not in str(failure.value)
        assert backend.load.running == backend.load.outstanding_tokens == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "overloaded"), (503, "overloaded"), (400, "rejected"), (401, "refused"),
     (307, "refused"), (500, "refused")],
)  # fmt: skip
async def test_a_status_is_told_without_its_text(status, reason):
    async with pair() as (upstream, backend):
        upstream.status = status
        with pytest.raises(UpstreamFailed) as failure:
            await collect(backend)
        assert failure.value.reason == reason
        assert "secret" not in str(failure.value)
        # A redirect is not followed, wherever it points.
        assert upstream.paths == []


async def test_an_answer_that_is_no_stream_is_refused():
    async with pair() as (upstream, backend):
        upstream.content_type = "application/json"
        with pytest.raises(UpstreamFailed, match="garbage"):
            await collect(backend)


async def test_nobody_there_is_unreachable():
    async with upstreams.serving() as upstream:
        pass
    async with backend_to(upstream) as backend:
        with pytest.raises(UpstreamFailed, match="unreachable"):
            await collect(backend)
        assert not await backend.probe()


async def test_calling_off_closes_the_connection():
    async with pair() as (upstream, backend):
        upstream.script = [event("Hel"), 30.0, event("lo")]
        async with aclosing(backend.generate(ask())) as run:
            assert await anext(run) == Text("Hel")
            assert backend.load.running == 1
            assert backend.load.outstanding_tokens == 8
        await asyncio.wait_for(upstream.gone.wait(), 60)
        assert backend.load.running == backend.load.outstanding_tokens == 0


async def test_a_reader_that_stalls_does_not_hold_the_server():
    clock = LoopClock()
    async with pair(patience=replace(LONG, deadline_s=20)) as (upstream, backend):
        upstream.script = [event("Hel"), 30.0]
        async with aclosing(backend.generate(ask())) as run:
            await anext(run)
            clock.move(21)
            await asyncio.wait_for(upstream.gone.wait(), 60)


async def test_a_server_that_counts_nothing_is_counted_by_its_pieces():
    async with pair() as (upstream, backend):
        upstream.script = [event("Hel"), event("lo", reason="length"), DONE]
        end = (await collect(backend))[-1]
    assert (end.reason, end.usage) == ("length", Usage(0, 2, counted=False))


async def test_no_path_beside_the_list_is_asked_for():
    async with upstreams.serving() as upstream:
        transport = Transport(upstream.url, paths=VLLM.paths)
        with pytest.raises(UpstreamFailed, match="forbidden"):
            await transport.get("/invocations", limit_bytes=10)
        await transport.close()
        assert upstream.paths == []


PAGE = """# HELP vllm:num_requests_running
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_running{engine="1"} 2.0
vllm:num_requests_running_total 99
vllm:num_requests_waiting{engine="0"} 4.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
"""


async def test_load_is_the_servers_word_but_never_less_than_ours():
    async with pair() as (upstream, backend):
        assert backend.load.age_s == float("inf")
        upstream.page = PAGE
        assert await backend.probe()
        load = backend.load
        assert (load.running, load.waiting, load.kv_fraction) == (5, 4, 0.75)
        assert load.age_s < 60
        upstream.page = PAGE.replace("3.0", "0.0").replace("2.0", "0.0")
        assert await backend.probe()
        upstream.script = [event("Hel"), 30.0]
        async with aclosing(backend.generate(ask())) as run:
            await anext(run)
            assert backend.load.running == 1


ABSURD = [("0.75", "7"), ("4.0", "-1"), ("4.0", "1e300"), ("4.0", "nan"), ("4.0", ""), (PAGE, "")]


@pytest.mark.parametrize("page", [PAGE.replace(*change) for change in ABSURD])
def test_a_page_that_makes_no_sense_tells_nothing(page):
    assert scrape.read(page, VLLM.gauges) is None


async def test_a_healthy_word_is_not_an_answer():
    async with pair() as (upstream, backend):
        upstream.script = [b"data: nonsense\n\n"]
        assert await backend.probe()
        with pytest.raises(UpstreamFailed):
            await collect(backend)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_no_bytes_break_the_reader(chunks):
    reader = EventReader(Expected("m", 4, frozenset({"f"}), likelihoods=True))
    try:
        for chunk in chunks:
            list(reader.feed(b"data:" + chunk + b"\n"))
    except UpstreamFailed:
        return


@given(st.integers(1, 40))
def test_events_are_the_same_however_they_are_cut(size):
    whole = b"".join(upstreams.GOOD)
    reader = EventReader(Expected(upstreams.MODEL, 8))
    deltas = [
        delta
        for start in range(0, len(whole), size)
        for delta in reader.feed(whole[start : start + size])
    ]
    assert "".join(delta.text for delta in deltas) == "Hello!"
    assert reader.done


ORIGINS = ["http://10.0.0.1:80", "ftp://127.0.0.1", "https://a.example", "x"]
ORIGINS += ["http://127.0.0.1:1/path", "http://u:p@127.0.0.1:1", "http://127.0.0.1.example"]


@pytest.mark.parametrize("origin", ORIGINS)
async def test_an_origin_without_the_needed_protection_is_refused(origin):
    with pytest.raises(SettingsInvalid):
        Transport(origin, paths=frozenset())


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, directory, name):
        self._directory, self._name = directory, name
        self._key, self._certificate = ec.generate_private_key(ec.SECP256R1()), None
        self._certificate = self._sign(self._key, name, authority=True)
        self.path = self._write(f"{name}.pem", self._certificate)

    def issue(self, name):
        key = ec.generate_private_key(ec.SECP256R1())
        private = self._directory / f"{name}.key"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return self._write(f"{name}.crt", self._sign(key, name)), private

    def _sign(self, key, name, *, authority=False):
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer = self._certificate.subject if self._certificate else subject
        now = datetime.now(UTC)
        names = [x509.IPAddress(ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name, certificate):
        path = self._directory / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


async def test_mutual_tls_lets_both_ends_know_each_other(tmp_path):
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ours.path)
    server.load_cert_chain(*ours.issue("server"))
    server.verify_mode = ssl.CERT_REQUIRED
    mine = Certificates(ours.path, *ours.issue("gateway"))
    async with upstreams.serving(server) as upstream:
        async with backend_to(upstream, certificates=mine) as backend:
            end = (await collect(backend))[-1]
            assert end.attestation["mutual_tls"] is True
        stranger = Certificates(ours.path, *others.issue("stranger"))
        async with backend_to(upstream, certificates=stranger) as backend:
            with pytest.raises(UpstreamFailed, match="unreachable"):
                await collect(backend)
        misled = Certificates(others.path, *ours.issue("misled"))
        async with backend_to(upstream, certificates=misled) as backend:
            with pytest.raises(UpstreamFailed, match="unreachable"):
                await collect(backend)
        assert len(upstream.bodies) == 1


async def test_certificates_that_do_not_load_are_named(tmp_path):
    missing = Certificates(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    with pytest.raises(SettingsInvalid, match="do not load"):
        missing.context()
