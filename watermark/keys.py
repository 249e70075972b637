"""What a mark takes of a key and of a token, for who only passes them on."""

KEY_BYTES = 32
# Token ids are below 2^18.
TOKEN_BITS = 18
