"""A gateway that only answers has loaded nothing that only an officer's requests need."""

import time
from pathlib import Path

from tests.e2e.deployment import MODEL, Gateway, serve

# Which shared object of it the kernel maps into a process that has imported it.
DETECTOR = "_multiarray_umath"
MESSAGES = [{"role": "user", "content": "Say hello to everybody in the room."}]
TEXT = "A text that nobody here has written, as far as anybody knows."


def loaded(gateway, library):
    return library in Path(f"/proc/{gateway.pid}/maps").read_text()


def test_the_detector_is_loaded_with_the_first_text_that_is_traced(idle_home):
    home, keys = idle_home
    with serve(home, acknowledgement_s=5) as (process, url):
        gateway = Gateway(home, url, process.pid, keys)
        with gateway.client() as client:
            client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=16)
            prober = client.with_options(base_url=url)
            assert prober.get("/healthz", cast_to=object) == {"status": "ok"}
            assert prober.get("/readyz", cast_to=object)["status"] == "ready"
        # Fingerprints of answers without a mark are written each second.
        time.sleep(1.5)
        assert not loaded(gateway, DETECTOR)
        with gateway.client("officer") as officer:
            told = officer.post("/provenance/verify", cast_to=object, body={"text": TEXT})
        assert told["verdict"] in {"too_short", "no_trace"}
        assert loaded(gateway, DETECTOR)
