"""Text from strangers, made fit for a log: printable, on one line, within a length."""

#: Longest text that is shown; what is cut off is marked.
LIMIT = 300


def one_line(text: str) -> str:
    """
    Escape what would break a line, and nothing else: for messages to the operator.

    @param text: a message that may repeat what somebody wrote.
    @return: printable characters and spaces only.
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def printable(text: bytes | str) -> str:
    """
    Escape what a client, a server or a daemon on somebody's machine sent.

    @param text: anything; octets are read as UTF-8, what is not is escaped.
    @return: printable characters only, no space, at most L{LIMIT} of them (an
        ellipsis marks a cut).  A backslash is doubled, so that two texts never
        look alike.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    out: list[str] = []
    length = 0
    for character in text:
        code = ord(character)
        if character == "\\":
            shown = "\\\\"
        elif character.isprintable() and character != " ":
            shown = character
        elif "\udc80" <= character <= "\udcff":
            shown = f"\\x{code - 0xDC00:02x}"
        else:
            # \x80 to \xff stand for octets that are no UTF-8.
            escaped = character.encode("unicode_escape").decode("ascii")
            shown = f"\\u{code:04x}" if 0x80 <= code <= 0xFF else escaped
            if character == " ":
                shown = "\\x20"
        length += len(shown)
        if length > LIMIT:
            out.append("...")
            break
        out.append(shown)
    return "".join(out)
