"""What of an address may be shown: never its password, wherever the address stands."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"://.*@", re.DOTALL)
_OPTION = re.compile(r"((?:password|passwd|pwd|secret|token)=)[^&\s'\"]+", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}")
_HOST = r"(?:[\w.-]*|\[[\w:.%]*\])(?::\d*)?"
_PLACE = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[^?#]*)?")


def masked(text: str) -> str:
    """Any text, without what stands before the last `@` of an address in it, and without passwords among options.

    A password that was not percent-encoded may hold anything, `/`, `?` and blanks too: rather too much is masked.
    """
    if "=" in text:
        text = _OPTION.sub(r"\1***", text)
    return _LOGIN.sub("://***@", text) if "://" in text else text


def shown(address: str) -> str:
    """An address, as errors and logs name it: without user, password and options; what could be any of them is out."""
    scheme, separator, rest = address.partition("://")
    scheme = scheme if separator and _SCHEME.fullmatch(scheme) else ""
    login, at, place = rest.rpartition("@")
    options_hold_it = "?" in login and "=" in login
    place = re.split(r"[?#]", place, maxsplit=1)[0]
    if not scheme or options_hold_it or not _PLACE.fullmatch(place):
        return f"{scheme}{scheme and separator}***"
    return f"{scheme}://{'***@' if at else ''}{place}"
