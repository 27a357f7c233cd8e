"""The file as a JSON Schema (draft 2020-12), from the definition that it is read by."""

from typing import Any

from socks5d.config.definition import KEYS
from socks5d.config.tables import table_schema


def json_schema() -> dict[str, Any]:
    """
    @return: what a JSON Schema says of the whole file.  What it cannot say (that a name is
        none, that a list does not exist) only reading the file tells.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "socks5d",
        "description": "The file of socks5d's --config.",
        **table_schema(KEYS),
    }
