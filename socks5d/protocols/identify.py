"""What a session does about ident: who is asked, and what comes of the answer."""

from socks5d.model import Identity, Refusal, Verdict
from socks5d.parameters import IdentMode
from socks5d.protocols.connect import judge
from socks5d.protocols.session import Session
from socks5d.rules import RequireIdent

_VOUCHED_FOR = RequireIdent()


async def identify(session: Session) -> None:
    """
    Ask about a session's client, as its listener is set to do.  The answer is in
    C{session.ident} afterwards; where it is required, it is who the client is, unless an
    authenticator knows better.

    @raise Refusal: where it is required and there is none, or it is another than USERID;
        and for a client that no rule lets in, about whom nobody is asked.
    """
    server = session.server
    await judge(session.server, session.request()._replace(command=None))
    session.ident = await server.ident_lookups.ask(session.client)
    if server.ident is IdentMode.LOG:
        return
    decision = _VOUCHED_FOR.decide(session.request())
    if decision.verdict is Verdict.DENY:
        raise Refusal(decision.outcome, decision.rule)
    if session.identity.name is None or session.identity.source == "userid":
        session.identity = Identity(session.ident.name, "ident")
