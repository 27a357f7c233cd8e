"""
CONNECT: from the host that was asked for to a connection.

The rules are asked for the name, the name is resolved, once, the rules are asked
for each address, and only an address that they permit is dialled.
"""

from collections.abc import Callable, Iterable, Sequence

from socks5d.egress.failures import NETWORK_ERRORS, farthest, outcome
from socks5d.egress.race import interleaved
from socks5d.model import Decision, Outcome, Refusal, Request, Verdict
from socks5d.protocols.server import Server
from socks5d.protocols.session import Session
from socks5d.protocols.ways import Way, way_of
from socks5d.relay import Origin
from socks5d.wire.address import Host, IPAddress
from socks5d.wire.names import NotAName, canonical, unmapped

#: Makes a request of an address, or of none while only a name is known.
Asking = Callable[[IPAddress | None], Request]


async def connect(session: Session, host: Host) -> Origin:
    """
    Do what a CONNECT request asks for.  Tells the session the name, the rule and
    the address.

    @param session: whose C{port} is the destination's.
    @param host: the destination, as it came.
    @return: the connected protocol.
    @raise Refusal: with the outcome that the client is to be told.
    """
    session.name, target = named(host)
    permits = await permitted_addresses(session, session.request, target)
    origin = await _dial(session, permits)
    if len(permits) == 1:
        ((session.address, decision),) = permits.items()
    else:
        peer = origin.peer
        if peer is None or isinstance(peer.host, bytes):
            return origin
        session.address = peer.host
        if peer.host not in permits:
            return origin
        decision = permits[peer.host]
    session.rule, session.terms = decision.rule, decision.terms
    return origin


async def _dial(session: Session, permits: dict[IPAddress, Decision]) -> Origin:
    """
    Connect to one of the addresses.  Those whose terms have the same way out, and the same
    time for it, are tried together; the others after them, in order.
    """
    usual = allowed = session.server.timeouts.connect
    problems: list[BaseException] = []
    try:
        for addresses in _together(permits):
            # Until another address answers, these terms are the ones that count.
            session.terms = terms = permits[addresses[0]].terms
            before, allowed = allowed, usual if terms.connect is None else terms.connect
            if allowed != before:
                session.postpone(allowed - before)
            try:
                egress = session.server.ways.out(terms)
                origin = await egress.connect(addresses, session.port, Origin)
            except NETWORK_ERRORS as error:
                problems.append(error)
            else:
                assert isinstance(origin, Origin)
                return origin
        raise _refusal(farthest(problems))
    finally:
        # They know this frame, which is not to know them.
        problems.clear()


def _refusal(problem: BaseException) -> Refusal:
    said = problem.rule if isinstance(problem, Refusal) else ""
    refusal = Refusal(outcome(problem), said or str(problem))
    refusal.__cause__ = problem
    return refusal


def _together(permits: dict[IPAddress, Decision]) -> Iterable[Sequence[IPAddress]]:
    if len(permits) == 1:
        return (tuple(permits),)
    groups: dict[tuple[Way, float | None], list[IPAddress]] = {}
    for address, decision in permits.items():
        key = way_of(decision.terms), decision.terms.connect
        groups.setdefault(key, []).append(address)
    return groups.values()


def named(host: Host) -> tuple[str | None, IPAddress | str]:
    """
    @param host: a destination as it came.
    @return: its canonical name, if it is one, and what it canonically is.
    @raise Refusal: when it is neither a name nor an address.
    """
    try:
        target = canonical(host)
    except NotAName as error:
        raise Refusal(Outcome.HOST_UNREACHABLE, str(error)) from None
    return (target if isinstance(target, str) else None), target


async def permitted_addresses(
    session: Session, request: Asking, target: IPAddress | str
) -> dict[IPAddress, Decision]:
    """
    What a destination is, as far as the rules let it be reached.

    @param request: makes the request that the rules are asked about, of an address.
    @param target: the destination, as L{named} gives it.
    @return: the addresses, in the order to try them, each with what permits it; at
        least one.
    @raise Refusal: when there is none.
    """
    addresses: Sequence[IPAddress]
    if isinstance(target, str):
        await judge(session.server, request(None))
        addresses = await session.server.resolve(session.client, target)
    else:
        addresses = (target,)
    return await _permitted(session, request, addresses)


async def judge(server: Server, request: Request) -> Decision:
    """
    Ask the rules.

    @param server: whose rules.
    @return: a permit; or no opinion, where there is no address yet.
    @raise Refusal: for a denial.
    """
    answer = server.gate.judge(request)
    # Not "isinstance(answer, Deferred)", which costs ten times as much: that is an ABC.
    decision = answer if isinstance(answer, Decision) else await answer
    if decision.verdict is Verdict.DENY:
        raise Refusal(decision.outcome, decision.rule)
    return decision


async def _permitted(
    session: Session, request: Asking, addresses: Sequence[IPAddress]
) -> dict[IPAddress, Decision]:
    """
    @raise Refusal: when none is permitted; with the first plain denial, where there is one.
    """
    permitted: dict[IPAddress, Decision] = {}
    denial: Decision | None = None
    if len(addresses) > 1:
        addresses = interleaved(addresses)[: session.server.limits.addresses]
    for found in addresses:
        address = unmapped(found)
        answer = session.server.gate.judge(request(address))
        decision = answer if isinstance(answer, Decision) else await answer
        if decision.verdict is Verdict.PERMIT:
            permitted[address] = decision
        elif denial is None or denial.outcome is not Outcome.DENIED:
            denial = decision
    if permitted:
        return permitted
    if denial is not None:
        raise Refusal(denial.outcome, denial.rule)
    raise Refusal(Outcome.HOST_UNREACHABLE, "the name has no address")
