"""What a worker is told arrives as it was said."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socks5d.config import make_settings, read_file
from socks5d.values import Item
from socks5d.workers.assignment import LISTENERS, Assignment, nameless_file

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
ITEMS = st.lists(st.tuples(st.text(), st.builds(Item, st.text(), VALUES)))


def read_back(assignment: Assignment) -> Assignment:
    """Stores it, as for another process."""
    descriptor = assignment.store()
    try:
        return Assignment.read(descriptor)
    finally:
        os.close(descriptor)


def assigned(**changes: Any) -> Assignment:
    """An assignment that is none in particular."""
    fields: dict[str, Any] = {
        "items": [],
        "workers": 2,
        "listeners": [[LISTENERS, LISTENERS + 1]],
        "access_log": None,
        "reactor": "twisted.internet.epollreactor",
        "name": "twistd",
    }
    return Assignment(**{**fields, **changes})


@given(
    items=ITEMS,
    workers=st.integers(1, 256),
    listeners=st.lists(st.lists(st.integers(9, 999))),
    access_log=st.none() | st.just(Path("/var/log/access \u00fc.json")),
    name=st.text(),
)
def test_it_arrives_as_it_was_said(**fields: Any) -> None:
    said = assigned(**fields)
    assert read_back(said) == said


def test_settings_from_a_file_and_options_mean_the_same_to_a_worker(tmp_path: Path) -> None:
    file = tmp_path / "socks5d.toml"
    file.write_text(
        'allow = ["*", "127.0.0.1:80"]\nbind_ports = "40000-40999"\nworkers = 2\n'
        "[timeouts]\nidle = 4.5\n[limits]\nassociations = 2\n"
    )
    items = (*read_file(file), ("workers", Item("--workers", "3")))
    said = read_back(assigned(items=items))
    assert make_settings(said.items) == make_settings(items)


def test_a_nameless_file_has_no_path_where_there_is_no_memory_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    descriptor = nameless_file("test")
    try:
        os.write(descriptor, b"octets")
        assert os.pread(descriptor, 10, 0) == b"octets"
        assert list(tmp_path.iterdir()) == []
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
