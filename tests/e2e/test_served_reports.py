"""A report asked of a serving gateway: made beside it, signed by its key broker, verified."""

import json
import urllib.request

from tests.e2e.deployment import eventually, sealgate, serve


def call(url, path, key, body=None):
    request = urllib.request.Request(  # noqa: S310 - Our own gateway.
        f"{url}{path}",
        None if body is None else json.dumps(body).encode(),
        {"authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - As above.
        return response.read()


def test_report_of_a_serving_gateway_is_made_and_verifies(idle_home, tmp_path):
    home, keys = idle_home
    officer = keys["officer"]
    with serve(home, acknowledgement_s=30, workers=1) as (_, url):
        asked = json.loads(call(url, "/reports", officer, {"framework": "eu-ai-act"}))

        def status():
            return json.loads(call(url, f"/reports/{asked['id']}", officer))

        assert eventually(lambda: status()["status"] in ("ready", "failed"), limit_s=90)
        assert status()["status"] == "ready", status()
        pdf = tmp_path / "served.pdf"
        pdf.write_bytes(call(url, f"/reports/{asked['id']}.pdf", officer))
        told = json.loads(sealgate("report", "verify", str(pdf), "--json", home=home).stdout)
        assert (told["recomputed"], told["framework"]) == (True, "eu-ai-act")
        assert told["entry"] is not None
