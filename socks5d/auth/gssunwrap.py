"""
gss_unwrap, of the library that the C{gssapi} package was linked with (RFC 2743 section 2.3.4).

That package's own gives a message only where there is nothing else to say of it: one
behind which another is missing is lost, and its octets are never released, nor are those
of one that came twice.
"""

import ctypes
from ctypes import POINTER, addressof, byref, c_char, c_int, c_size_t, c_uint32, c_void_p, string_at
from typing import NamedTuple
from weakref import finalize

# Of a major status, RFC 2744 section 3.9.1: errors, and what else there is to say.
_ERRORS = 0xFFFF0000
DUPLICATE = 2
OLD = 4
OUT_OF_SEQUENCE = 8
GAP = 16
REMARKS = DUPLICATE | OLD | OUT_OF_SEQUENCE | GAP


class _Buffer(ctypes.Structure):
    _fields_ = (("length", c_size_t), ("value", c_void_p))


_FUNCTIONS = {
    "gss_import_sec_context": (POINTER(_Buffer), POINTER(c_void_p)),
    "gss_unwrap": (c_void_p, POINTER(_Buffer), POINTER(_Buffer), POINTER(c_int), POINTER(c_uint32)),
    "gss_release_buffer": (POINTER(_Buffer),),
    "gss_delete_sec_context": (POINTER(c_void_p), c_void_p),
}


class GSSFailure(Exception):
    """The library reports an error.  The text is its major and minor status."""


class Unwrapped(NamedTuple):
    """
    @ivar data: what the token holds.
    @ivar encrypted: whether it was encrypted.
    @ivar remarks: L{DUPLICATE}, L{OLD}, L{OUT_OF_SEQUENCE} and L{GAP}, those that apply, in
        one number.
    """

    data: bytes
    encrypted: bool
    remarks: int


class Library:
    """The four functions that are needed."""

    def __init__(self, linked: str) -> None:
        """
        @param linked: the path of a module, loaded or not, that is linked with the library.
        @raise OSError: when it cannot be loaded.
        @raise AttributeError: when it is not linked with any.
        """
        library = ctypes.CDLL(linked)
        for name, arguments in _FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes = (POINTER(c_uint32), *arguments)
            function.restype = c_uint32
        self._library = library

    def receiver(self, exported: bytes) -> "Receiver":
        """
        @param exported: an established context, as gss_export_sec_context gives it.
        @raise GSSFailure: when it is none.
        """
        minor, context = c_uint32(), c_void_p()
        token = _buffer(exported)
        _check(
            self._library.gss_import_sec_context(byref(minor), byref(token), byref(context)), minor
        )
        return Receiver(self._library, context)


class Receiver:
    """A context that messages are unwrapped in."""

    def __init__(self, library: ctypes.CDLL, context: c_void_p) -> None:
        """
        @param context: is deleted with this object.
        """
        self._library = library
        self._context = context
        finalize(self, _delete, library, context).atexit = False

    def unwrap(self, token: bytes) -> Unwrapped:
        """
        @raise GSSFailure: for a token that is not the client's.
        """
        minor, encrypted, message = c_uint32(), c_int(), _Buffer()
        octets = _buffer(token)
        major = self._library.gss_unwrap(
            byref(minor), self._context, byref(octets), byref(message), byref(encrypted), None
        )
        try:
            _check(major, minor)
            data = string_at(message.value, message.length) if message.length else b""
            return Unwrapped(data, bool(encrypted.value), major & REMARKS)
        finally:
            self._library.gss_release_buffer(byref(c_uint32()), byref(message))


def _buffer(octets: bytes) -> _Buffer:
    """A copy, for the library writes into what it reads; it lives as long as this does."""
    buffer = _Buffer(len(octets))
    # One octet more, for of none there is no address.
    buffer.octets = c_char.from_buffer(bytearray(octets) + b"\0")
    buffer.value = addressof(buffer.octets)
    return buffer


def _check(major: int, minor: c_uint32) -> None:
    if major & _ERRORS:
        raise GSSFailure(f"major {major:#x}, minor {minor.value}")


def _delete(library: ctypes.CDLL, context: c_void_p) -> None:
    library.gss_delete_sec_context(byref(c_uint32()), byref(context), None)
