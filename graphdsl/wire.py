"""How protobuf writes a field: for bytes that are put together without parsing them."""

from functools import lru_cache

_BYTES = 2
"""The wire type of messages, text and bytes."""


@lru_cache(1 << 12)
def field(number: int, length: int) -> bytes:
    """How a field of so many bytes starts."""
    return _varint(number << 3 | _BYTES) + _varint(length)


def starts_with(message: bytes, number: int, text: str) -> bool:
    """Whether the first field of a message is this one, and this its text."""
    content = text.encode()
    return message.startswith(field(number, len(content)) + content)


def _varint(value: int) -> bytes:
    if value < 128:
        return _SMALL[value]
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


_SMALL = [bytes([value]) for value in range(128)]
