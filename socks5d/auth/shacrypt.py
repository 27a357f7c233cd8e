"""
SHA-crypt (C{$5$} and C{$6$}) by the system's C{crypt_r(3)}.

Python's own C{crypt} takes text alone, holds up the reactor while it hashes, and is gone
from Python 3.13.
"""

import ctypes
import hmac
import sys
from collections.abc import Callable
from functools import cache

#: More than any library's C{struct crypt_data}: glibc's has 131,232 octets.
_STATE = 1 << 18
#: The library, as systems call it; None is the process itself, for musl has it in libc.
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)
#: From its specification (Drepper, SHA-crypt.txt 0.6).
_KNOWN = (
    b"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    b"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
)
_KNOWN_PASSWORD = b"Hello world!"


def available() -> bool:
    """
    @return: whether the system has it, and it hashes right.
    """
    return _crypt_r() is not None


def matches(text: bytes, password: bytes) -> bool:
    """
    Blocks, and lets other threads run meanwhile.

    @param text: a hash that is whole.
    @param password: without a NUL.
    @return: whether the password is the one that was hashed.
    @raise OSError: when the system does not have it.
    """
    crypt_r = _crypt_r()
    if crypt_r is None:
        raise OSError("this system has no library for SHA-crypt")
    return hmac.compare_digest(crypt_r(password, text), text)


@cache
def _crypt_r() -> Callable[[bytes, bytes], bytes] | None:
    if sys.platform != "linux":
        return None
    for name in _LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
        function.restype = ctypes.c_char_p

        def crypt_r(
            password: bytes, setting: bytes, function: Callable[..., bytes | None] = function
        ) -> bytes:
            # Its result lies in the state, and ctypes copies it.
            return function(password, setting, ctypes.create_string_buffer(_STATE)) or b""

        if all(crypt_r(_KNOWN_PASSWORD, known) == known for known in _KNOWN):
            return crypt_r
    return None
