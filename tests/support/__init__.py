"""What the tests have in common: a running reactor, origins, SOCKS clients, twistd."""
