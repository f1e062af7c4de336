"""Damaged files: bytes turned, cut, moved or repeated, heads that lie, and odd values in JSON and YAML."""

import json
import random
import struct
from typing import Any

NUMBERS = (0, -1, 1, 2**31, 2**40, 2**63, 10**30, -0.5, 1e308, float("nan"), float("inf"))
TEXTS = (
    "", "\0", "../../etc/passwd", "/", ".", "..", "a" * 5000, "<img src=x onerror=alert(1)>", "$\\frac$", "{x}", "%s%n",
    "NaN", "-", "\n", "é\u202e", "null", "~", "2026-13-45",
)  # fmt: skip
SHAPES: tuple[Any, ...] = ([], {}, [[]], [1, [2, [3]]], {"a": {"b": []}}, None, True)


def of_bytes(data: bytes, drawn: random.Random) -> bytes:
    """The bytes with one kind of damage."""
    found, size = bytearray(data), max(1, len(data))
    at, many = drawn.randrange(size), drawn.randint(1, 256)
    kind = drawn.choice(["bit", "bytes", "head", "run", "zeros", "ones", "cut", "insert", "repeat", "append", "delete"])
    if kind == "bit":
        found[at : at + 1] = bytes([found[at] ^ (1 << drawn.randrange(8))]) if found else b"\1"
    elif kind in ("bytes", "head"):
        for _ in range(drawn.randint(1, 48)):
            place = drawn.randrange(size if kind == "bytes" else min(size, 1024))
            found[place : place + 1] = drawn.randbytes(1)
    elif kind in ("run", "zeros", "ones"):
        found[at : at + many] = {"run": drawn.randbytes(many), "zeros": bytes(many), "ones": b"\xff" * many}[kind]
    elif kind == "cut":
        del found[at:]
    elif kind == "insert":
        found[at:at] = drawn.randbytes(many)
    elif kind == "repeat":
        found[at:at] = found[at : at + many]
    elif kind == "append":
        found += drawn.randbytes(16 * many)
    else:
        del found[at : at + many]
    return bytes(found)


def of_nifti(data: bytes, drawn: random.Random) -> bytes:
    """An uncompressed NIfTI-1 whose header lies (nifti1.h: places and types of its fields)."""
    found = bytearray(data)
    shorts, floats = (-32768, -1, 0, 1, 7, 8, 999, 30000, 32767), (float("nan"), float("inf"), 0.0, -1.0, 1e30, 1e-38)
    fields = {"dim": (40, "<h", 8), "datatype": (70, "<h", 2), "pixdim": (76, "<f", 8), "vox_offset": (108, "<f", 1)}
    fields |= {"scl": (112, "<f", 2), "codes": (252, "<h", 2), "quaternion": (256, "<f", 6), "srow": (280, "<f", 12)}
    for _ in range(drawn.randint(1, 3)):
        start, kind, count = fields[drawn.choice(list(fields))]
        place = start + struct.calcsize(kind) * drawn.randrange(count)
        struct.pack_into(kind, found, place, drawn.choice(shorts if kind == "<h" else floats))
    return bytes(found)


def of_values(content: Any, drawn: random.Random) -> Any:
    """JSON's or YAML's content with one value, key or branch replaced, doubled or gone."""
    if isinstance(content, dict) and content and drawn.random() < 0.9:
        key = drawn.choice(list(content))
        kind = drawn.random()
        if kind < 0.1:
            return {k: v for k, v in content.items() if k != key}
        if kind < 0.2:
            return content | {drawn.choice(TEXTS): drawn.choice(SHAPES)}
        return content | {key: of_values(content[key], drawn)}
    if isinstance(content, list) and content and drawn.random() < 0.9:
        at = drawn.randrange(len(content))
        return [*content[:at], of_values(content[at], drawn), *content[at + 1 :]]
    return drawn.choice(drawn.choice((NUMBERS, TEXTS, SHAPES)))


def of_json(data: bytes, drawn: random.Random) -> bytes:
    """A file of JSON, with odd values or, at times, no JSON any more."""
    if drawn.random() < 0.2:
        return of_bytes(data, drawn)
    return json.dumps(of_values(json.loads(data), drawn)).encode()
