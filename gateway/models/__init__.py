"""Model files: GGUF in, ONNX graph and tokeniser out."""
