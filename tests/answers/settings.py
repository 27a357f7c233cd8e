"""Settings that the answers are tested with."""

from pathlib import Path

from socks5d.config import Settings, make_settings, read_file

FILE = """
listen = "tcp:1080:interface=127.0.0.1"
auth = "memory:ops:secret"
deny = "10.9.0.0/16"

[list.office]
addresses = ["192.0.2.0/24", "2001:db8::/32"]

[list.staff]
users = ["ops", "ann-*"]

[[rule]]
name = "no ads"
action = "deny"
reason = "nobody wants them"
to = "*.ads.example"

[[rule]]
action = "permit"
from = "@office"
group = "staff"
to = ["*.example.com", "203.0.113.0/24"]
ports = [443, "8000-8099"]
days = ["mon-fri"]
hours = "08:00-18:00"
zone = "Europe/Vienna"
idle = 60
source = "192.0.2.1"

[[listener]]
name = "guests"
endpoint = "tcp:1081:interface=127.0.0.1"
auth = []
udp = false

[[listener.rule]]
action = "permit"
to = "*"
ports = 80
"""


def made(folder: Path, text: str = FILE) -> Settings:
    """What a file comes to."""
    path = folder / "socks5d.toml"
    path.write_text(text)
    return make_settings(read_file(path))
