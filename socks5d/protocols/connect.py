"""
CONNECT: from the host that was asked for to a connection.

The rules are asked for the name, the name is resolved, once, the rules are asked
for each address, and only an address that they permit is dialled.
"""

from collections.abc import Callable, Sequence

from socks5d.egress.failures import NETWORK_ERRORS, outcome
from socks5d.egress.race import interleaved
from socks5d.model import Decision, Outcome, Refusal, Request, Verdict
from socks5d.protocols.session import Session
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
    rules = await permitted_addresses(session, session.request, target)
    try:
        origin = await session.server.egress.connect(tuple(rules), session.port, Origin)
    except NETWORK_ERRORS as error:
        raise Refusal(outcome(error), str(error)) from error
    assert isinstance(origin, Origin)
    if len(rules) == 1:
        ((session.address, session.rule),) = rules.items()
    else:
        peer = origin.peer
        if peer is not None and not isinstance(peer.host, bytes):
            session.address = peer.host
            session.rule = rules.get(peer.host, "")
    return origin


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
) -> dict[IPAddress, str]:
    """
    What a destination is, as far as the rules let it be reached.

    @param request: makes the request that the rules are asked about, of an address.
    @param target: the destination, as L{named} gives it.
    @return: the addresses, in the order to try them, each with the rule that permits
        it; at least one.
    @raise Refusal: when there is none.
    """
    addresses: Sequence[IPAddress]
    if isinstance(target, str):
        await judge(session, request(None))
        addresses = await session.server.resolve(session.client, target)
    else:
        addresses = (target,)
    return await _permitted(session, request, addresses)


async def judge(session: Session, request: Request) -> Decision:
    """
    Ask the rules.

    @return: a permit; or no opinion, where there is no address yet.
    @raise Refusal: for a denial.
    """
    answer = session.server.gate.judge(request)
    # Not "isinstance(answer, Deferred)", which costs ten times as much: that is an ABC.
    decision = answer if isinstance(answer, Decision) else await answer
    if decision.verdict is Verdict.DENY:
        raise Refusal(decision.outcome, decision.rule)
    return decision


async def _permitted(
    session: Session, request: Asking, addresses: Sequence[IPAddress]
) -> dict[IPAddress, str]:
    """
    @raise Refusal: when none is permitted; with the first plain denial, where there is one.
    """
    permitted: dict[IPAddress, str] = {}
    denial: Decision | None = None
    if len(addresses) > 1:
        addresses = interleaved(addresses)[: session.server.limits.addresses]
    for found in addresses:
        address = unmapped(found)
        answer = session.server.gate.judge(request(address))
        decision = answer if isinstance(answer, Decision) else await answer
        if decision.verdict is Verdict.PERMIT:
            permitted[address] = decision.rule
        elif denial is None or denial.outcome is not Outcome.DENIED:
            denial = decision
    if permitted:
        return permitted
    if denial is not None:
        raise Refusal(denial.outcome, denial.rule)
    raise Refusal(Outcome.HOST_UNREACHABLE, "the name has no address")
