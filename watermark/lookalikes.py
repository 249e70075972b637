# ruff: noqa: RUF001 - Letters that are taken for others are what this is about.
"""Letters of other scripts that look like Latin ones, as people who disguise a text use them.

Chosen from Unicode's confusables (UTS 39) for the scripts at hand in every font: Cyrillic, Greek,
Armenian and Latin's own odd letters. Compatibility forms (full width, mathematical) are not here:
NFKC maps them, and no letter here is changed by it.
"""

_PAIRS = (
    ("аӓ", "a"), ("еҽ", "e"), ("оοօ", "o"), ("рρ", "p"), ("сς", "c"), ("уүγ", "y"), ("хχ", "x"),
    ("іιı", "i"), ("јϳ", "j"), ("ѕ", "s"), ("һ", "h"), ("ԁ", "d"), ("ԛ", "q"), ("ԝѡ", "w"),
    ("ѵν", "v"), ("υս", "u"), ("κк", "k"), ("ո", "n"), ("ɑα", "a"), ("ɡց", "g"), ("ӏ", "l"),
    ("АΑ", "A"), ("ВΒ", "B"), ("С", "C"), ("ЕΕ", "E"), ("Ԍ", "G"), ("НΗ", "H"), ("ІΙӀ", "I"),
    ("ЈͿ", "J"), ("КΚ", "K"), ("МΜ", "M"), ("Ν", "N"), ("ОΟՕ", "O"), ("РΡ", "P"), ("Ԛ", "Q"),
    ("Ѕ", "S"), ("ТΤ", "T"), ("Ս", "U"), ("Ѵ", "V"), ("Ԝ", "W"), ("ХΧ", "X"), ("УҮΥ", "Y"),
    ("Ζ", "Z"),
)  # fmt: skip

LATIN = {alike: letter for group, letter in _PAIRS for alike in group}
