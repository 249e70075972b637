"""What a sealed model is called by, apart from how one is made: a gateway reads, and makes none."""

# Assets of a container, by name.
TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"
# `format` in the configuration of a model that embeds.
EMBEDDING_FORMAT = "onnx-embedding-v1"
