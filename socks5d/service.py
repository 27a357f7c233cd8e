"""The program as an L{IService<twisted.application.service.IService>}: settings to listeners."""

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn
from weakref import WeakSet

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from socks5d.bounded import DeadlinePassed, bounded
from socks5d.config import Listener, Settings
from socks5d.generation import Generation, Lasting
from socks5d.interfaces import ISessionObserver
from socks5d.limits.limiter import IElsewhere
from socks5d.listening import (
    accepted_address,
    announce,
    announce_end,
    cannot_start,
    complain,
    keep_quotas,
    kept,
    make_endpoint,
    renew,
    still_accepted,
)
from socks5d.net import faster
from socks5d.net.addresses import socket_address
from socks5d.protocols import SOCKSFactory
from socks5d.protocols.base import SOCKSProtocol
from socks5d.protocols.review import Review
from socks5d.protocols.server import Server
from socks5d.signals import fail_in_order
from socks5d.values import ConfigError, Problems

#: How long sessions that are ended at shutdown get to be gone, in seconds.
ABORT_GRACE = 2.0
#: How long a listener that a reload adds may take, in seconds.
LISTENING = 10.0


@define(eq=False)
class _Place:
    """
    A listener that there is.

    @ivar factory: serves its clients.  It lasts as long as the listener does.
    @ivar port: None while it does not listen.
    """

    listener: Listener
    endpoint: IStreamServerEndpoint
    factory: SOCKSFactory
    port: IListeningPort | None = None


@define(eq=False)
class Change:
    """
    What a reload would change.

    @ivar generation: what serves afterwards.
    @ivar places: the listeners there are then.
    @ivar stay: those of them that there are already, each with what they will be.
    @ivar new: those that are not.
    @ivar gone: those there are no more.
    """

    generation: Generation
    places: list[_Place] = field(factory=list)
    stay: list[tuple[_Place, _Place]] = field(factory=list)
    new: list[_Place] = field(factory=list)
    gone: list[_Place] = field(factory=list)


class SOCKSService(Service):
    """
    Listens, and stops in order.

    @ivar capacity: counts the sessions of all listeners.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        observers: Iterable[ISessionObserver] = (),
        *,
        elsewhere: IElsewhere | None = None,
        endpoints: Sequence[IStreamServerEndpoint] | None = None,
    ) -> None:
        """
        @param settings: what to do.
        @param reactor: the reactor to run on.
        @param observers: are told of every session.
        @param elsewhere: where what clients and identities have is counted, where that is
            not done here alone.
        @param endpoints: where to listen, in the place of making them; one for each
            C{settings.listen}.  Nothing is said about them then.
        @raise ConfigError: for settings that do not go together, or not here.
        """
        self.setName("socks5d")
        self._reactor = reactor
        self._announcing = endpoints is None
        self._listening = False
        self._lasting = Lasting(settings, reactor, elsewhere)
        self.capacity = self._lasting.capacity
        self._generation, self._places = self._made(settings, observers, endpoints)
        self._lasting.begin(self._generation)
        self._review = Review(reactor)
        #: Listeners that are gone, some of whose sessions are not.
        self._retired: WeakSet[SOCKSFactory] = WeakSet()
        #: What sessions began with that hold no more.
        self._superseded: WeakSet[Server] = WeakSet()

    def _made(
        self,
        settings: Settings,
        observers: Iterable[ISessionObserver],
        endpoints: Sequence[IStreamServerEndpoint] | None,
        before: Generation | None = None,
    ) -> tuple[Generation, list[_Place]]:
        """
        @param endpoints: as for L{__init__}.
        @raise ConfigError: with everything that is wrong.
        """
        problems = Problems()
        generation = problems.within(self._lasting.generation, settings, observers, before)
        listeners = settings.listeners
        if endpoints is None:
            made = [
                problems.within(make_endpoint, each, self._reactor, each.endpoint)
                for each in listeners
            ]
            problems.complain()
            endpoints = [faster(each) for each in made if each is not None]
        problems.complain()
        assert generation is not None
        pairs = zip(generation.listeners, endpoints, strict=True)
        return generation, [_Place(each, way, factory) for (each, factory), way in pairs]

    @property
    def ports(self) -> list[IListeningPort]:
        """The listeners there are."""
        return [place.port for place in self._places if place.port is not None]

    def privilegedStartService(self) -> None:
        """
        See L{Service}.  Listens, while twistd still has the privileges it was started with.

        @raise StartupError: when a listener cannot listen, or would be an open proxy.
        """
        super().privilegedStartService()
        self._listening = True
        for place in self._places:
            listening = place.endpoint.listen(place.factory).addCallback(self._listens, place)
            if not listening.called:
                listening.addErrback(self._stop_late, place.listener.endpoint)
                continue
            failures: list[Failure] = []
            listening.addErrback(failures.append)
            if failures:
                self._cannot_start(place.listener.endpoint, failures[0])

    def startService(self) -> None:
        """See L{Service}.  Listens here where nobody called L{privilegedStartService}."""
        if not self._listening:
            self.privilegedStartService()
        super().startService()
        self._generation.tell_of_less()
        if self._lasting.quotas is not None:
            # Not before: the file belongs to whoever this process runs as from now on.
            file = self._generation.settings.quota.file
            keep_quotas(self._lasting.quotas, file, self._reactor)

    def _listens(self, port: IListeningPort, place: _Place) -> None:
        host = accepted_address(place.listener, port)
        if not self._listening or place.factory.retired:
            port.stopListening()
            raise ConfigError("the service has stopped")
        place.port = port
        if host is not None:
            self._lasting.addresses.add(host)
        self.capacity.governs(port)
        if self._announcing:
            announce(place.listener.name, host)

    def _stop_late(self, failure: Failure, listener: str) -> None:
        """A listener that took its time cannot listen after all."""
        complain(listener, failure)
        fail_in_order(self._reactor)

    def _cannot_start(self, listener: str, failure: Failure) -> NoReturn:
        for port in self.ports:
            port.stopListening()
        cannot_start(complain(listener, failure))

    # Reload.

    async def prepare(
        self,
        settings: Settings,
        observers: Iterable[ISessionObserver] = (),
        endpoints: Sequence[IStreamServerEndpoint] | None = None,
    ) -> Change:
        """
        Get ready to do as other settings say.  Listeners that are new listen already; for
        those who are there nothing changes.

        @param observers: are told of every session that begins after the change.
        @param endpoints: as for L{__init__}; of those that stay no more is used than how
            they would listen.
        @return: what L{commit} or L{abandon} is to be called with, in the same turn of the
            reactor or later.
        @raise ConfigError: with everything that is wrong.
        """
        before = self._generation
        generation, made = self._made(settings, observers, endpoints, before)
        change = Change(generation)
        places = list(self._places)
        there = kept(
            [each.listener.endpoint for each in places], [each.listener.endpoint for each in made]
        )
        problems = Problems()
        for index, place in zip(there, made, strict=True):
            if index is None:
                change.new.append(place)
                change.places.append(place)
            else:
                change.stay.append((places[index], place))
                change.places.append(places[index])
                port = places[index].port
                if port is not None:
                    problems.within(still_accepted, place.listener, socket_address(port.getHost()))
        change.gone = [each for each in places if each not in change.places]
        problems.complain()
        if self._listening:
            try:
                for place in change.new:
                    await self._listen(place)
            except BaseException:
                self.abandon(change)
                raise
        return change

    async def _listen(self, place: _Place) -> None:
        """
        @raise ConfigError: when it cannot, for whatever reason.
        """
        description = place.listener.endpoint
        # Another one, so that nobody cancels the endpoint's: a port that comes late is stopped.
        listens: Deferred[None] = Deferred()
        listening = maybeDeferred(place.endpoint.listen, place.factory)
        listening.addCallback(self._listens, place)
        listening.addCallbacks(listens.callback, listens.errback)
        try:
            await bounded(self._reactor, LISTENING, listens)
        except Exception as error:  # noqa: BLE001 (endpoint plugins raise what they like)
            raise ConfigError(f"listen {description!r}: {error}") from None

    def abandon(self, change: Change) -> None:
        """
        Leave everything as it is.

        @param change: what L{prepare} gave.
        """
        for place in change.new:
            place.factory.retired = True
            self._retire(place)
            for protocol in list(place.factory.sessions):
                protocol.shut_down(now=True)

    def commit(self, change: Change) -> None:
        """
        Serve whoever connects from now on as other settings say.

        @param change: what L{prepare} gave.
        """
        if not self._listening and any(place.port is not None for place in change.new):
            # It has been stopped since.
            self.abandon(change)
            return
        before, self._generation = self._generation, change.generation
        self._lasting.begin(change.generation, before)
        if self.running and before.limits != change.generation.limits:
            change.generation.tell_of_less()
        for place, other in change.stay:
            self._superseded.add(place.factory.server)
            place.factory.follow(other.factory)
            place.listener = other.listener
            renew(place.endpoint, other.endpoint)
        for place in change.gone:
            self._superseded.add(place.factory.server)
            place.factory.retired = True
            self._retired.add(place.factory)
            self._retire(place)
        self._places = change.places
        for place in change.new:
            if self._listening and place.port is None:
                # When it was prepared nobody listened anywhere.
                listening = place.endpoint.listen(place.factory).addCallback(self._listens, place)
                listening.addErrback(self._stop_late, place.listener.endpoint)
        ends_denied = change.generation.settings.reload_ends_denied
        for server in self._superseded:
            server.superseded = self._review_one if ends_denied else None
        if ends_denied:
            for factory in self._factories():
                self._review.add(each for each in factory.sessions if each.carrier is not None)

    def _review_one(self, connection: SOCKSProtocol) -> None:
        self._review.add([connection])

    def _retire(self, place: _Place) -> None:
        port, place.port = place.port, None
        if port is None:
            return
        host = socket_address(port.getHost())
        if host is not None:
            self._lasting.addresses.discard(host)
        self.capacity.governs_no_more(port)
        if self._announcing:
            announce_end(place.listener.name, host)
        maybeDeferred(port.stopListening).addErrback(
            lambda failure: self._log.failure("a listener did not stop", failure)
        )

    def _factories(self) -> list[SOCKSFactory]:
        """Of all that have sessions."""
        return [*(place.factory for place in self._places), *self._retired]

    # The end.

    def stopService(self) -> Deferred[None]:
        """
        See L{Service}.  Accepts nobody any more, ends what has no request yet, gives
        the rest its time to finish, and ends it.
        """
        super().stopService()
        self._listening = False
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ports = self.ports
        for place in self._places:
            place.port = None
        await DeferredList([maybeDeferred(port.stopListening) for port in ports])
        self._shut_down(now=False)
        if not await self._idle(self._generation.settings.timeouts.shutdown):
            left = sum(len(factory.sessions) for factory in self._factories())
            self._log.info("{count} sessions did not finish and end now", count=left)
            self._shut_down(now=True)
            await self._idle(ABORT_GRACE)
        if self._lasting.quotas is not None:
            await self._lasting.quotas.close()

    def _shut_down(self, *, now: bool) -> None:
        for factory in self._factories():
            for protocol in list(factory.sessions):
                protocol.shut_down(now=now)

    async def _idle(self, seconds: float) -> bool:
        try:
            await bounded(self._reactor, seconds, self.capacity.when_idle())
        except DeadlinePassed:
            return False
        return True
