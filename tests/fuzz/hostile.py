"""Texts, numbers and bytes that programs tend to stumble over."""

import re
from random import Random

TEXTS = (
    "", " ", "\t", "\n", "a\nb", "\0", "a\0b", "-", "--", "-1", "#", "#1", "a#0", ":", "::", ".py:",
    "x.py:", ":x", ",", ",,", "=", "*", "[", "[a-", "?", "[]", "{}", "%s", "{0}", "$HOME", "`id`",
    "\\", '"', "'", "ä", "é", "日本", "🐈", "\u202e", "\u0660", "²", "½", "ß", "İ", "\ufeff",
    "\udce9", "a\udcffb", "\x1b[31m", "[red]", "[/]", "None", "null", "true", "nan", "inf", "-inf",
    "0", "-0", "00", "1_0", "0x10", "1e3", "1e400", "9" * 30, "9" * 5000, "a" * 300, "a." * 400,
    "(" * 200, "type:", "type:Conv2d", "top:", "top:1", "all", "max", "center", "auto", "default",
    "none", "http://example.org/a.jpg", "folder", "folder/inner", "a.jpg", "net.py", "net.py:tiny",
    "c.yaml", "w.pth", "/dev/null", "/nowhere/x",
)  # fmt: skip
WHOLE = (0, 1, -1, 2, 3, 7, 255, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30)
REAL = ("0", "-0.0", "0.5", "1", "1e-300", "1e300", "5e-324", "nan", "inf", "-inf", "1e400", "-1")


def text(random: Random) -> str:
    """A text that was chosen to hurt, or one of random characters."""
    if random.random() < 0.7:
        return random.choice(TEXTS)
    pool = random.choice(
        ("abc.*?[]#-,:0129", "0123456789,-x. ", "äß日🐈\udc80\x07\u0300", "{}&*!|>%@")
    )
    return "".join(random.choices(pool, k=random.randint(0, 12)))


def bent(random: Random, valid: str) -> str:
    """A valid text with a few characters taken out, doubled, swapped or put in."""
    letters = list(valid)
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(letters))
        how = random.randrange(4)
        if how == 0:
            letters[at : at + random.randint(1, 3)] = []
        elif how == 1:
            letters[at:at] = letters[max(0, at - random.randint(1, 4)) : at]
        elif how == 2:
            letters[at : at + 1] = [random.choice("#,:*?[]-x.0193 \nä\t\"'{}&")]
        else:
            letters[at:at] = [text(random)[:20]]
    return "".join(letters)


def tame(value: str) -> str:
    """Keep a text from being a place outside of the working folder, or hours of work."""
    value = value.replace("..", ".")
    if value not in TEXTS:
        value = re.sub(r"(?<![\w.])[/~]", "_", value)
    # Such sides would be legal, and would take seconds to gigabytes.
    return re.sub(r"\d+", lambda n: "33" if 33 < _whole(n[0]) <= 8192 else n[0], value)


def _whole(digits: str) -> int:
    return int(digits) if len(digits) < 10 else 10**10


def damaged(random: Random, data: bytes, *, head: int = 64) -> bytes:
    """Real bytes with flips, a cut, a splice, zeros, or another header."""
    content = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8, 40))):
        end = min(head, len(content)) if random.random() < 0.5 else len(content)
        at = random.randrange(max(1, end))
        how = random.randrange(8)
        if how <= 2:
            content[at : at + 1] = bytes([random.randrange(256)])
        elif how == 3:
            content[at : at + 1] = (
                bytes([content[at] ^ 1 << random.randrange(8)]) if content else b""
            )
        elif how == 4:
            del content[at : at + random.choice((1, 2, 4, 100))]
        elif how == 5:
            content[at:at] = content[: random.randint(1, 64)]
        elif how == 6:
            content[at : at + 4] = random.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        elif random.random() < 0.3:
            del content[at:]
    return bytes(content)
