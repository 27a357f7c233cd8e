"""By which egress to go out, on the terms of a rule."""

from collections.abc import Mapping
from typing import TypeAlias

from socks5d.interfaces import IEgress, IEgressOnTerms
from socks5d.model import NO_TERMS, Outcome, Refusal, Terms
from socks5d.parameters import LocalAddresses

#: Ways that are remembered.  A ruleset in other hands may have any number of terms.
REMEMBERED = 1024

#: What terms say of how to go out: upstream, source and device.
Way: TypeAlias = tuple[str | None, LocalAddresses | None, str | None]


def way_of(terms: Terms) -> Way:
    """
    @return: what terms say of how to go out: equal for those that go out the same way.
    """
    return terms.upstream, terms.source, terms.device


class Ways:
    """The egresses there are."""

    def __init__(self, egress: IEgress, upstreams: Mapping[str, IEgress]) -> None:
        """
        @param egress: goes out where terms name no upstream.
        @param upstreams: others, by the name that terms have for them.
        """
        self._egress = egress
        self._upstreams = upstreams
        self._made: dict[tuple[Way, float | None], IEgress] = {}

    def out(self, terms: Terms) -> IEgress:
        """
        @return: what goes out on these terms.
        @raise Refusal: when nothing does.
        """
        if terms is NO_TERMS:
            return self._egress
        key = way_of(terms), terms.connect
        found = self._made.get(key)
        if found is None:
            found = self._make(terms)
            if len(self._made) >= REMEMBERED:
                self._made.clear()
            self._made[key] = found
        return found

    def _make(self, terms: Terms) -> IEgress:
        egress = self._egress
        if terms.upstream is not None:
            if terms.upstream not in self._upstreams:
                raise Refusal(Outcome.DENIED, f"there is no upstream {terms.upstream!r}")
            egress = self._upstreams[terms.upstream]
        if terms.source is None and terms.device is None and terms.connect is None:
            return egress
        if IEgressOnTerms.providedBy(egress):
            return egress.on_terms(terms)
        if terms.source is None and terms.device is None:
            # How long it may take is watched over here in any case.
            return egress
        raise Refusal(Outcome.DENIED, "the egress cannot choose a source address or a device")
