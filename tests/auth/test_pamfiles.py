"""Files of PAM's services: which lines there are, whatever is in between."""

from pathlib import Path

import pytest

from socks5d.auth.pamfiles import what_is_missing

AUTH, ACCOUNT = "auth required pam_unix.so\n", "account required pam_unix.so\n"


def missing(folder: Path, text: str, **others: str) -> str:
    """What is missing in a service's file beside others."""
    (folder / "socks5d").write_text(text)
    for name, content in others.items():
        (folder / name.replace("_", "-")).write_text(content)
    return what_is_missing("socks5d", (folder / "none", folder)).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    "text",
    [
        AUTH + ACCOUNT,
        "# a comment\n\n" + ACCOUNT + "session optional pam_permit.so\n" + AUTH,
        "AUTH\trequired pam_unix.so # here\n  Account sufficient \\\n  pam_unix.so\n",
        "auth [success=1 default=ignore] pam_unix.so\n" + ACCOUNT,
        "@include common\n",
        "auth include common\naccount substack common\n",
        "@include nested\n",
    ],
)
def test_a_service_that_has_both(text: str, tmp_path: Path) -> None:
    assert missing(tmp_path, text, common=AUTH + ACCOUNT, nested="@include common\n") == ""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "auth"),
        ("# auth required pam_unix.so\n", "auth"),
        (AUTH, "account"),
        (ACCOUNT, "auth"),
        ("-" + AUTH + ACCOUNT, "auth"),
        ("auth include account-only\n" + ACCOUNT, "auth"),
        ("@include account-only\n", "auth"),
        ("@include nowhere\n" + AUTH, "account"),
        ("@include\n" + AUTH, "account"),
        ("@include circle\n", "auth"),
        ("authentication required pam_unix.so\n" + ACCOUNT, "auth"),
        ("\0\xff" * 40000, "auth"),
    ],
)
def test_a_service_of_which_pam_would_ask_another(text: str, kind: str, tmp_path: Path) -> None:
    others = {"account_only": ACCOUNT, "circle": "@include circle\n"}
    said = missing(tmp_path, text, **others)
    assert said == f"socks5d has no '{kind}' line; write one"


def test_a_service_without_a_file(tmp_path: Path) -> None:
    folders = (tmp_path / "none", tmp_path)
    assert what_is_missing("x", folders) == f"it has no file; write {tmp_path}/none/x"
    (tmp_path / "x").mkdir()
    assert what_is_missing("x", folders) == f"it has no file; write {tmp_path}/none/x"


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text(AUTH + ACCOUNT)

    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    assert what_is_missing("x", (tmp_path,)) == f"{tmp_path}/x has no 'auth' line; write one"


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "both").write_text(AUTH + ACCOUNT)
    assert missing(tmp_path, f"@include {tmp_path}/elsewhere/both\n") == ""
