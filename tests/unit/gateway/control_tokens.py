"""Control tokens of a model, by their spelling."""


def special(tokenizer, text):
    """Return the id of a control token."""
    (token,) = tokenizer.split_control(text)
    assert isinstance(token, int)
    return token
