"""The benchmark: socks5d beside other SOCKS servers, under one load. C{sh tests/bench/run}."""
