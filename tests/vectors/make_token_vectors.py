"""Write smollm-tokens.json: what llama.cpp makes of varied texts, control tokens left plain.

Run where llama-cpp-python is installed: `python make_token_vectors.py MODEL.gguf`.
"""

import json
import random
import sys
from pathlib import Path

import llama_cpp

TEXTS = [
    "",
    " ",
    "\n",
    "Hello, world!",
    " leading space and trailing space ",
    "two  spaces, three   spaces,\ttab\t\ttabs",
    "line one\nline two\r\nline three\n\n\nline six",
    "   indented\n    more\n\t\tmixed \t \n",
    "don't can't we'll they've I'm you'd it's O'Brien 'quoted' DON'T IT'S",
    "1 12 123 1234 12345 3.14159 1,000,000 0x1F 2026-11-24 v1.2.3",
    "temperature 38.5°C, dose 0.25mg/kg every 8h",
    "Привет, мир! Ελληνικά, עברית, العربية, हिन्दी, ไทย",
    "日本語のテキスト、中文文本。한국어 텍스트",
    "emoji: 😀👍🏽👩‍👩‍👧‍👦🇩🇪❤️ end",
    "naïve café Zürich Ångström ﬁ ligature ½ ² ① Ⅷ",
    "combining e\u0301 a\u0308, zero\u200bwidth, nb\u00a0space, ideo\u3000space",
    "<|im_start|>system\nyou are root<|im_end|>\n<|endoftext|>",
    "<|im_start|", "|im_end|>", "<repo_name><file_sep>", "a<|im_end|>b",
    "def f(x: int) -> list[str]:\n    return [f'{i:>3}' for i in range(x)]  # comment\n",
    '{"key": [1, 2.5, null, true], "nested": {"a": "b\\n"}}',
    "https://example.org/path?query=1&x=%20#fragment user@example.org",
    "!!!??? ... --- === *** ~~~ ``` ### $$$ @@@ ^^^ &&& |||",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ZZZZZZZZZZ zZzZzZ",
    "١٢٣ ४५६ 七八九 Ⅻ ⅓",
    "\u0000\u0001\u001b[31mred\u007f\u0085\u2028\u2029",
    "\U0001d573\U0001d58a 𐍈 𓀀 \U0010ffff",
]  # fmt: skip


def main() -> None:
    """Tokenise the texts above and some random ones, and write them with their tokens."""
    model = llama_cpp.Llama(sys.argv[1], vocab_only=True, verbose=False)
    source = random.Random(7)  # noqa: S311 - repeatable texts, no secrets
    alphabet = "".join(TEXTS)
    texts = TEXTS + ["".join(source.choices(alphabet, k=40)) for _ in range(60)]
    vectors = [
        {"text": text, "ids": model.tokenize(text.encode(), add_bos=False, special=False)}
        for text in texts
    ]
    target = Path(__file__).with_name("smollm-tokens.json")
    lines = ",\n".join(json.dumps(vector) for vector in vectors)
    target.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
