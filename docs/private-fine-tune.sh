#!/bin/sh
# From private mails to a served, marked and certified model: docs/training.md.
# Run in the repository after `make demo`, which fetches the model, and `make bench-data`, which
# fetches the mails; needs the extra [train]. A home that is not there yet is made.
set -eu

export SEALGATE_HOME="${SEALGATE_HOME:-$PWD/.sealgate/home}"
export SEALGATE_KEY_FILE="${SEALGATE_KEY_FILE:-$PWD/.sealgate/key}"
BASE="${BASE:-$PWD/.sealgate/cache/SmolLM2-135M-Instruct.Q4_1.gguf}"
MAILS="${MAILS:-$PWD/.bench/training/mails.jsonl}"
STEPS="${STEPS:-40}" BATCH="${BATCH:-64}" DELTA="${DELTA:-1e-5}" LENGTH="${LENGTH:-128}"
CANARIES="${CANARIES:-2200}" TOKENS="${TOKENS:-220}"
PATH="$PWD/.venv/bin:$PATH"
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT

[ -d "$SEALGATE_HOME" ] || sealgate init

field() { python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# 1. What to train, and what may leak.
cat > "$WORK/train.toml" <<TOML
name = "mails"
[data]
path = "$MAILS"
[model]
kind = "lora"
base = "$BASE"
length = $LENGTH
[privacy]
epsilon = 8.0
delta = $DELTA
clip = 1.0
[training]
steps = $STEPS
batch = $BATCH
learning_rate = 1e-3
optimizer = "adamw"
microbatch = 8
[audit]
canaries = $CANARIES
TOML

# 2. Train an adapter; it is sealed, and its certificate issued and verified.
sealgate train run "$WORK/train.toml" --json > "$WORK/run.json"
RUN="$(field run < "$WORK/run.json")"
CERTIFICATE="$(field certificate < "$WORK/run.json")"
sealgate train verify "$SEALGATE_HOME/training/$RUN/certificate.json"
sealgate budget show mails

# 3. Merge it, round it (which reads no record), seal it to be served.
sealgate train import "$RUN" --base "$BASE" --id mails-lora

# 4. Serve it, ask it, trace its words back, and read its entry in the log: that names the
# certificate.
CLIENT="$(sealgate clients add --name mails --tenant mails --role client --json | field key)"
OFFICER="$(sealgate clients add --name officer --tenant mails --role officer --json | field key)"
mkfifo "$WORK/ready"
sealgate serve --json --port 0 > "$WORK/ready" &
GATEWAY=$!
trap 'kill "$GATEWAY"; wait "$GATEWAY" || true; rm -rf "$WORK"' EXIT
URL="$(head -n 1 "$WORK/ready" | field url)"
export CLIENT OFFICER URL CERTIFICATE TOKENS
python - <<'PYTHON'
import os
import sys

import openai


def client(key):
    http = openai.DefaultHttpxClient(trust_env=False)
    url = os.environ["URL"] + "/v1"
    return openai.OpenAI(base_url=url, api_key=os.environ[key], timeout=300, http_client=http)


question = {"role": "user", "content": "Write a long letter to all staff about spam mails."}
answer = client("CLIENT").chat.completions.create(
    model="mails-lora", messages=[question], max_tokens=int(os.environ["TOKENS"])
)
text = answer.choices[0].message.content
print(text)
officer = client("OFFICER")
print(officer.post("/provenance/verify", cast_to=object, body={"text": text}))

url = f"{os.environ['URL']}/audit/events?request={answer._request_id}"
for entry in officer.get(url, cast_to=object)["data"]:
    own = entry["event"]["sealgate"]
    print(own["phase"], own["model"])
    if own["model"]["training_certificate"] != os.environ["CERTIFICATE"]:
        sys.exit("The entry does not name the certificate of the training.")
PYTHON

# 5. The HIPAA report carries what was promised, and what the audit of it showed.
sealgate report generate --out "$SEALGATE_HOME/training/$RUN/report.pdf"
