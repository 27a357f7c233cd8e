"""From a name and a password to who it is."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from socks5d.auth.arguments import ArgumentError
from socks5d.auth.blocking import Login
from socks5d.auth.ldap.connecting import HOLD, Connect, bound
from socks5d.auth.ldap.failures import DirectoryError
from socks5d.auth.ldap.lines import Line
from socks5d.auth.ldap.settings import Search, Template
from socks5d.auth.ldap.ways import BySearch, ByTemplate, Password, Way, Wrong
from tests.auth.ldap.directory import PASSWORD, ROOT, Directory

PEOPLE = f"ou=people,{ROOT}"
ANN = f"uid=Ann,{PEOPLE}"
SEARCHER = f"cn=searcher,{ROOT}"
SECRET = b"the searcher's own"
SEARCH = Search(PEOPLE, bind=SEARCHER, secret=SECRET)
TEMPLATE = Template(f"uid=%s,{PEOPLE}")


@pytest.fixture
def directory(clock: Clock) -> Directory:
    directory = Directory(clock)
    directory.add(ANN, uid=[b"Ann"])
    directory.add(SEARCHER, SECRET)
    return directory


class Asked:
    """A way to a directory, by one line."""

    def __init__(self, directory: Directory, way: Search | Template) -> None:
        self.directory = directory
        codec = directory.codec
        searching: Connect = directory.connect
        self.way: Way
        if isinstance(way, Search):
            self.way = BySearch(way, codec, 5.0)
            searching = bound(directory.connect, way, codec, directory.clock)
        else:
            self.way = ByTemplate(way, codec)
        self.line = Line(searching, directory.connect)

    def __call__(self, name: bytes, password: bytes = PASSWORD) -> Any:
        """The name, or the type of the failure."""
        said: list[Any] = []
        log_in = Deferred.fromCoroutine(
            self.way.log_in(self.line, name, Password(password, Login()))
        )
        log_in.addCallbacks(said.append, lambda failure: said.append(failure.value))
        self.directory.turn()
        assert len(said) == 1
        return type(said[0]) if isinstance(said[0], Wrong) else said[0]


def test_a_search_gives_the_name_that_the_directory_has(directory: Directory) -> None:
    asked = Asked(directory, SEARCH)
    for name in (b"Ann", b"ann", b"ANN", b" ann "):
        assert asked(name) == b"Ann"
    assert asked(b"ann", b"wrong") is Wrong
    assert asked(b"nobody") is Wrong


def test_a_template_gives_the_name_in_lower_case(directory: Directory) -> None:
    directory.add(f"uid=bob,{PEOPLE}")
    asked = Asked(directory, TEMPLATE)
    for name in (b"bob", b"Bob", b"BOB"):
        assert asked(name) == b"bob"
    assert asked(b"bob", b"wrong") is Wrong
    assert asked(b"nobody") is Wrong
    asked_so_far = len(directory.asked)
    for name in (b" bob", b"bob ", "bo\u00adb".encode(), "bób".encode()):
        assert asked(name) is Wrong
    assert len(directory.asked) == asked_so_far


def test_a_template_takes_a_name_for_a_value(directory: Directory) -> None:
    asked = Asked(directory, TEMPLATE)
    assert asked(b"x,ou=other") is Wrong
    assert asked(b"*(\\)") is Wrong
    assert [dn for dn, _ in directory.binds()] == [
        f"uid=x\\2cou\\3dother,{PEOPLE}",
        f"uid=\\2a\\28\\5c\\29,{PEOPLE}",
    ]


def test_a_users_connection_never_searches(directory: Directory) -> None:
    asked = Asked(directory, SEARCH)
    for name, password in (
        (b"ann", PASSWORD),
        (b"ann", b"wrong"),
        (b"x", b"y"),
        (b"ann", PASSWORD),
    ):
        asked(name, password)
    assert len(directory.wires) == 2
    searches, binds = directory.wires
    assert [type(each).__name__ for each in searches.requests] == [
        "LDAPBindRequest",
        *["LDAPSearchRequest"] * 4,
    ]
    assert searches.requests[0].dn.decode() == SEARCHER
    assert [type(each).__name__ for each in binds.requests] == ["LDAPBindRequest"] * 4


def test_a_search_as_nobody_does_not_bind(directory: Directory) -> None:
    asked = Asked(directory, Search(PEOPLE))
    assert asked(b"ann") == b"Ann"
    assert [type(each).__name__ for _, each in directory.asked] == [
        "LDAPSearchRequest",
        "LDAPBindRequest",
    ]


def test_an_unknown_name_costs_what_a_wrong_password_does(directory: Directory) -> None:
    asked = Asked(directory, SEARCH)
    asked(b"ann", b"wrong")

    def costs(name: bytes) -> list[tuple[object, str]]:
        directory.asked.clear()
        assert asked(name, b"wrong") is Wrong
        return [(wire, type(each).__name__) for wire, each in directory.asked]

    assert costs(b"ann") == costs(b"nobody")
    ((dn, password),) = directory.binds()
    # Under the base, nobody's, never the same, and never with the user's password.
    assert dn.endswith(f",{PEOPLE}")
    assert dn not in directory.people
    assert len(password) == 16
    costs(b"nobody")
    assert directory.binds()[0][0] != dn
    assert directory.binds()[0][1] != password


def test_a_decoy_that_lets_bind_lets_nobody_in(directory: Directory) -> None:
    directory.codes["LDAPBindRequest"] = 0
    asked = Asked(directory, Search(PEOPLE, decoy=f"cn=decoy,{ROOT}"))
    assert asked(b"nobody") is Wrong
    assert directory.binds()[0][0] == f"cn=decoy,{ROOT}"
    assert asked(b"ann") == b"Ann"


def test_two_entries_are_nobody(directory: Directory) -> None:
    directory.add(f"uid=ann,ou=other,{PEOPLE}", uid=[b"ann"])
    asked = Asked(directory, SEARCH)
    assert asked(b"ann") is Wrong
    assert len(directory.binds()) == 2
    # Nor one of which the server says that there are more.
    del directory.people[ANN]
    assert asked(b"ann") == b"ann"
    directory.codes["LDAPSearchRequest"] = 4
    assert asked(b"ann") is Wrong


@pytest.mark.parametrize("names", [[], [b"a", b"b"], [b""], [b"\xff"], [b"x" * 256], [b"a\nb"]])
def test_whom_it_finds_must_have_a_name(directory: Directory, names: list[bytes]) -> None:
    directory.add(f"uid=bob,{PEOPLE}", uid=[b"bob"], cn=names)
    asked = Asked(directory, Search(PEOPLE, name="cn"))
    error = asked(b"bob")
    assert type(error) is DirectoryError
    assert "not one value of cn" in str(error)
    assert all(dn != f"uid=bob,{PEOPLE}" for dn, _ in directory.binds())


def test_the_name_may_be_another_attribute_than_the_filters(directory: Directory) -> None:
    directory.add(f"uid=bob,{PEOPLE}", uid=[b"bob", b"robert"], cn=[b"Bob"])
    asked = Asked(directory, Search(PEOPLE, name="CN"))
    assert asked(b"bob") == asked(b"robert") == b"Bob"


def test_nobody_binds_as_an_entry_without_a_dn(directory: Directory) -> None:
    directory.add("", uid=[b"root"])
    asked = Asked(directory, Search(PEOPLE))
    assert type(asked(b"root")) is DirectoryError
    assert all(dn for dn, _ in directory.binds())


@pytest.mark.parametrize("way", [SEARCH, TEMPLATE])
@pytest.mark.parametrize("code", [19, 32, 34, 48, 49, 50, 53])
def test_codes_that_are_about_the_user(
    directory: Directory, way: Search | Template, code: int
) -> None:
    asked = Asked(directory, way)
    asked(b"ann")
    directory.codes["LDAPBindRequest"] = code
    assert asked(b"ann") is Wrong


@pytest.mark.parametrize("way", [SEARCH, TEMPLATE])
@pytest.mark.parametrize("code", [1, 2, 3, 7, 8, 10, 13, 14, 51, 52, 80, 123])
def test_codes_that_are_about_the_directory(
    directory: Directory, way: Search | Template, code: int
) -> None:
    asked = Asked(directory, way)
    asked(b"ann")
    directory.codes["LDAPBindRequest"] = code
    for name in (b"ann", b"nobody"):
        error = asked(name)
        assert type(error) is DirectoryError
        assert "it does not let users bind" in str(error)


@pytest.mark.parametrize("code", [1, 3, 10, 32, 50, 52])
def test_a_search_that_fails_finds_nobody(directory: Directory, code: int) -> None:
    directory.codes["LDAPSearchRequest"] = code
    error = Asked(directory, SEARCH)(b"ann")
    assert type(error) is DirectoryError
    assert "it does not search" in str(error)


def test_the_wrong_secret_finds_nobody(directory: Directory) -> None:
    asked = Asked(directory, Search(PEOPLE, bind=SEARCHER, secret=b"wrong"))
    error = asked(b"ann")
    assert type(error) is DirectoryError
    assert str(error) == "it refuses the account that searches (invalidCredentials)"
    assert [type(each).__name__ for _, each in directory.asked] == ["LDAPBindRequest"]
    assert not directory.wires[0].open
    # It is not tried with every login, for the account might be locked.
    for _ in range(5):
        assert "it has refused the account" in str(asked(b"ann"))
    directory.clock.advance(HOLD - 0.1)
    assert "it has refused the account" in str(asked(b"ann"))
    assert len(directory.wires) == 1
    directory.people[SEARCHER] = ({}, b"wrong")
    directory.clock.advance(0.1)
    assert asked(b"ann") == b"Ann"


@pytest.mark.parametrize(
    ("way", "why"),
    [
        (Template("%s"), "'dn' is no DN"),
        (Search("people"), "'base' is no DN"),
        (Search(ROOT, bind="searcher", secret=b"x"), "'bind' is no DN"),
        (Search(ROOT, decoy="x"), "'decoy' is no DN"),
        (Search(ROOT, "(uid=ann)"), "'filter' must hold %s"),
        (Search(ROOT, name="a b"), "'name' is no attribute"),
        (Search(ROOT, "(|(uid=%s)(mail=%s))"), "say which is the 'name'"),
        (Search(ROOT, "(:caseExactMatch:=%s)"), "'name' is no attribute"),
    ],
)
def test_what_makes_no_sense_is_told(
    directory: Directory, way: Search | Template, why: str
) -> None:
    with pytest.raises(ArgumentError, match=why):
        Asked(directory, way)
