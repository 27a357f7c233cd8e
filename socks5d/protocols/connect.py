"""
CONNECT: from the host that was asked for to a connection.

The rules are asked for the name, the name is resolved, once, the rules are asked
for each address, and only an address that they permit is dialled.
"""

from collections.abc import Sequence

from attrs import evolve
from twisted.internet.defer import Deferred

from socks5d.egress.failures import NETWORK_ERRORS, outcome
from socks5d.egress.race import interleaved
from socks5d.model import Decision, Outcome, Refusal, Request, Verdict
from socks5d.protocols.session import Session, socket_address
from socks5d.relay import Origin
from socks5d.wire.address import Host, IPAddress
from socks5d.wire.names import NotAName, canonical, unmapped


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
    rules = await permitted_addresses(session, session.request(), target)
    try:
        origin = await session.server.egress.connect(tuple(rules), session.port, Origin)
    except NETWORK_ERRORS as error:
        raise Refusal(outcome(error), str(error)) from error
    assert isinstance(origin, Origin)
    peer = socket_address(origin.transport.getPeer())
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
    session: Session, request: Request, target: IPAddress | str
) -> dict[IPAddress, str]:
    """
    What a destination is, as far as the rules let it be reached.

    @param request: what is asked for, without an address.
    @param target: the destination, as L{named} gives it.
    @return: the addresses, in the order to try them, each with the rule that permits
        it; at least one.
    @raise Refusal: when there is none.
    """
    addresses: Sequence[IPAddress]
    if isinstance(target, str):
        await judge(session, request)
        addresses = await session.server.egress.resolve(target)
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
    decision = await answer if isinstance(answer, Deferred) else answer
    if decision.verdict is Verdict.DENY:
        raise Refusal(decision.outcome, decision.rule)
    return decision


async def _permitted(
    session: Session, request: Request, addresses: Sequence[IPAddress]
) -> dict[IPAddress, str]:
    """
    @raise Refusal: the first denial, when there is no permit.
    """
    permitted: dict[IPAddress, str] = {}
    denial = Refusal(Outcome.HOST_UNREACHABLE, "the name has no address")
    for found in interleaved(addresses)[: session.server.limits.addresses]:
        address = unmapped(found)
        try:
            decision = await judge(session, evolve(request, address=address))
        except Refusal as refusal:
            if denial.outcome is not Outcome.DENIED:
                denial = refusal
        else:
            permitted[address] = decision.rule
    if not permitted:
        raise denial
    return permitted
