"""What the tiers' file does not allow is not allowed, and a wrong one is refused by its entry."""

import json
from pathlib import Path

import pytest

from gateway.errors import SettingsInvalid
from gateway.models.tokenizer import Tokenizer
from gateway.router import Thresholds
from gateway.settings import Settings
from gateway.tiers import CLASSES, Tiers, load
from gateway.upstream import routes
from watermark.keys import TOKEN_BITS

EXAMPLE = Path(__file__).parents[3] / "deploy" / "tiers.example.toml"
REMOTE = """
[[remote]]
name = "edge-1"
tier = "edge"
profile = "vllm"
origin = "http://127.0.0.1:9"
model = "m"
serves = "m"
boundary = "site"
classes = ["public"]
context_length = 4096
"""


def written(tmp_path, text):
    path = tmp_path / "tiers.toml"
    path.write_text(text)
    return path


def test_the_example_loads_and_shows_the_defaults():
    tiers = load(EXAMPLE)
    assert tiers.routing.thresholds == Tiers().routing.thresholds == Thresholds()
    assert tiers.local == Tiers().local
    edge, cloud = tiers.remote
    assert edge.place().classes == {"public", "internal", "phi"}
    assert cloud.remote().profile.name == "vllm"
    assert cloud.certificates.authority.name == "ca.pem"


def test_without_a_file_local_models_are_all_there_is(tmp_path):
    tiers = load(None)
    place = tiers.local_place("m", context_length=100, output_limit=50, slots=2)
    assert (place.name, place.tier, place.boundary) == ("local/m", "mobile", "local")
    assert place.classes == set(CLASSES)
    assert tiers.orphans() == ()


def test_a_single_model_can_be_another_tier(tmp_path):
    tiers = load(written(tmp_path, '[local.models]\nlarge = "edge"\n'))
    places = [
        tiers.local_place(m, context_length=9, output_limit=9, slots=1) for m in ("a", "large")
    ]
    assert [place.tier for place in places] == ["mobile", "edge"]


def test_a_class_without_a_tier_is_told(tmp_path):
    tiers = load(written(tmp_path, '[local]\nclasses = ["internal"]\n' + REMOTE))
    assert tiers.orphans() == ("phi", "unclassified")


async def test_a_class_without_a_tier_is_a_warning_at_start(tmp_path, caplog):
    file = written(tmp_path, '[local]\nclasses = ["public", "internal", "phi"]\n')
    settings = Settings(tiers_file=file, home=tmp_path)
    async with routes(settings, {}, None):
        pass
    (line,) = [record.getMessage() for record in caplog.records if record.name == "sealgate"]
    assert "unclassified" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('tier = "edge"', 'tier = "fog"'), "fog"),
        (('"public"', '"secret"'), "secret"),
        (('classes = ["public"]', "classes = []"), "classes"),
        (('classes = ["public"]', ""), "classes"),
        (('model = "m"', 'model = "m"\ncache_salt = "x"'), "cache_salt"),
        (("http://127.0.0.1:9", "http://10.0.0.9:80"), "mutual TLS"),
        (("http://127.0.0.1:9", "https://10.0.0.9"), "certificate"),
        (('profile = "vllm"', 'profile = "ollama"'), "one tenant"),
        (('serves = "m"', 'serves = "auto"'), "cannot be called"),
        (('boundary = "site"', ""), "boundary"),
        (('"vllm"', '"sglang"\ntokenizer_file = "t"\ntenants = ["a"]'), "processor"),
        (('boundary = "site"', 'boundary = "local"'), "cannot be 'local'"),
        (("context_length = 4096", "context_length = 0"), "context_length"),
        ((REMOTE, REMOTE * 2), "two remotes"),
        ((REMOTE, "[routing]\nedge_from = 70\n"), "above"),
        ((REMOTE, "not toml ="), "tiers.toml"),
    ],
)
def test_a_wrong_file_is_refused_by_its_entry(change, message, tmp_path):
    with pytest.raises(SettingsInvalid, match=message):
        load(written(tmp_path, REMOTE.replace(*change)))


def test_a_tokeniser_makes_a_server_a_marking_one(tmp_path, smollm2):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(smollm2.assets["tokenizer.json"])
    bare, marking = load(
        written(
            tmp_path,
            REMOTE + REMOTE.replace("edge-1", "edge-2") + f'tokenizer_file = "{file}"\n',
        )
    ).remote
    assert (bare.place().marks, bare.tokenizer(), bare.remote().capabilities.marks) == (
        False, None, False,
    )  # fmt: skip
    assert marking.place().marks
    assert marking.remote().capabilities.marks
    text = "A caf\u00e9, <|im_start|> and all."
    ours = Tokenizer(file.read_bytes())
    assert marking.tokenizer().encode(text) == ours.encode(text)
    assert marking.tokenizer().encode_with_offsets("Plain words.") == ours.encode_with_offsets(
        "Plain words."
    )


@pytest.mark.parametrize("content", [None, b"{}", b"\xff\xfe", b"[1]"])
def test_a_tokeniser_that_does_not_load_is_named(tmp_path, content):
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_bytes(content)
    (remote,) = load(written(tmp_path, REMOTE + f'tokenizer_file = "{file}"\n')).remote
    with pytest.raises(SettingsInvalid, match=r"edge-1: .*tokenizer\.json"):
        remote.tokenizer()


def test_a_vocabulary_beyond_the_mark_is_refused_before_anything_is_marked(tmp_path):
    vocabulary = {"a": 0, "b": 1 << TOKEN_BITS}
    document = {"version": "1.0", "added_tokens": [], "model": {
        "type": "WordLevel", "vocab": vocabulary, "unk_token": "a"}}  # fmt: skip
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(document))
    (remote,) = load(written(tmp_path, REMOTE + f'tokenizer_file = "{file}"\n')).remote
    with pytest.raises(SettingsInvalid, match="2\\^18"):
        remote.tokenizer()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_a_server_that_shares_prompts_may_serve_one_tenant(tmp_path):
    text = REMOTE.replace('"vllm"', '"ollama"') + 'tenants = ["clinic"]\n'
    (remote,) = load(written(tmp_path, text)).remote
    assert remote.place().tenants == {"clinic"}
