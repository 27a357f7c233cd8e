"""Every way to have it installed: a wheel, an editable install, and a mere checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.program.launching import ON_LOOPBACK, REACH_LOOPBACK, serves, twistd_in
from tests.support.twistd import TWISTD

CHECKOUT = Path(__file__).parents[2]
#: What is needed of a checkout, and nothing that a tool has left in one.
PARTS = ("pyproject.toml", "README.rst", "LICENSE", "socks5d", "twisted")
#: Building may have to fetch the build backend.
BUILD_DEADLINE = 120.0


def run(*command: object, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command that must succeed; gives its output."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def clean_environment(**more: str) -> dict[str, str]:
    """Ours, without what would bring in this checkout."""
    left = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return left | more


def copy_of_checkout(folder: Path) -> Path:
    """What there is in version control, as far as it is needed."""
    copy = folder / "checkout"
    copy.mkdir()
    leave = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for part in PARTS:
        here = CHECKOUT / part
        if here.is_dir():
            shutil.copytree(here, copy / part, ignore=leave)
        else:
            shutil.copy(here, copy / part)
    return copy


class Environment:
    """
    A virtual environment that has what we depend on, but not us: the packages of the
    environment that runs the tests, without its C{.pth} files, which an editable
    install is made of.

    @ivar python: its interpreter.
    @ivar packages: where its own packages go.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        names = {"base": str(folder), "platbase": str(folder)}
        self.packages = Path(sysconfig.get_path("purelib", vars=names))
        ours = Path(sysconfig.get_path("purelib"))
        (self.packages / "dependencies.pth").write_text(f"{ours}\n")

    def where(self, name: str, cwd: Path) -> str:
        """The file of a package, or nothing for one that it does not have."""
        look = (
            "import sys; from importlib.util import find_spec; found = find_spec(sys.argv[1]);"
            "sys.stdout.write(str(found and found.origin or ''))"
        )
        command = (str(self.python), "-P", "-c", look, name)
        return run(*command, cwd=cwd, environment=clean_environment())

    def prefix(self, *more: str) -> tuple[str, ...]:
        """What twistd is run with to run in it."""
        return ("env", "--unset=PYTHONPATH", *more, str(self.python))


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """One without socks5d."""
    made = Environment(tmp_path / "environment")
    assert made.where("twisted", tmp_path)
    assert made.where("socks5d", tmp_path) == ""
    return made


def is_listed_and_serves(prefix: Sequence[str], cwd: Path, code: Path) -> None:
    """twistd knows it, and runs this code."""
    listed = run(*prefix, TWISTD, "--help", cwd=cwd)
    assert [line.split()[0] for line in listed.splitlines() if "SOCKS 4, 4a" in line] == ["socks5d"]
    shown = run(*prefix, TWISTD, "socks5d", "--help", cwd=cwd)
    assert shown.count("permit  ") == 1
    look = "import socks5d.tap; print(socks5d.tap.__file__)"
    assert run(*prefix, "-P", "-c", look, cwd=cwd).strip() == str(code / "tap.py")
    with twistd_in(cwd, *ON_LOOPBACK, *REACH_LOOPBACK, prefix=prefix) as server:
        serves(server.address())
        assert server.stop() == 0, server.output()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from this checkout."""
    if find_spec("build") is None:
        message = "build is missing: pip install build, or the Debian package python3-build"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_of_checkout(folder)
    isolation = ["--no-isolation"] if find_spec("hatchling") is not None else []
    out = folder / "out"
    command = [sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(out)]
    run(*command, str(source), cwd=folder)
    (made,) = out.iterdir()
    return made


def contents(wheel: Path) -> list[str]:
    with ZipFile(wheel) as file:
        return file.namelist()


@pytest.mark.parametrize(
    "name", ["twisted/plugins/socks5d_plugin.py", "socks5d/py.typed", "socks5d/tap.py"]
)
def test_the_wheel_holds_what_is_needed(name: str, wheel: Path) -> None:
    assert name in contents(wheel)


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    modules = {str(each.relative_to(CHECKOUT)) for each in (CHECKOUT / "socks5d").rglob("*.py")}
    assert modules <= set(contents(wheel))


def test_the_wheel_leaves_twisteds_own_folders_alone(wheel: Path) -> None:
    of_twisted = [name for name in contents(wheel) if name.startswith("twisted")]
    assert of_twisted == ["twisted/plugins/socks5d_plugin.py"]


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in contents(wheel)}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"socks5d", "twisted", info}
    assert [name for name in contents(wheel) if name.endswith((".pyc", "dropin.cache"))] == []


def test_a_wheel_that_is_installed_serves(
    wheel: Path, environment: Environment, tmp_path: Path
) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index"]
    run(*pip, "--target", environment.packages, wheel, cwd=tmp_path)
    code = environment.packages / "socks5d"
    assert environment.where("socks5d", tmp_path) == str(code / "__init__.py")
    is_listed_and_serves(environment.prefix(), tmp_path, code)


def test_an_editable_install_serves(environment: Environment, tmp_path: Path) -> None:
    if find_spec("hatchling") is None:
        pytest.skip("hatchling, the build backend, is not in this environment")
    checkout = copy_of_checkout(tmp_path)
    pip = [environment.python, "-m", "pip", "install", "--no-deps", "--no-index"]
    # The packages of the environment that runs the tests are not its own to replace.
    alone = ["--ignore-installed", "--no-build-isolation"]
    run(*pip, *alone, "--editable", checkout, cwd=tmp_path, environment=clean_environment())
    code = checkout / "socks5d"
    assert environment.where("socks5d", tmp_path) == str(code / "__init__.py")
    is_listed_and_serves(environment.prefix(), tmp_path, code)


def test_a_checkout_on_the_python_path_serves(environment: Environment, tmp_path: Path) -> None:
    checkout = copy_of_checkout(tmp_path)
    prefix = environment.prefix(f"PYTHONPATH={checkout}")
    is_listed_and_serves(prefix, tmp_path, checkout / "socks5d")


def test_a_checkout_that_one_stands_in_serves(environment: Environment, tmp_path: Path) -> None:
    checkout = copy_of_checkout(tmp_path)
    prefix = environment.prefix("PYTHONPATH=.")
    is_listed_and_serves(prefix, checkout, checkout / "socks5d")
