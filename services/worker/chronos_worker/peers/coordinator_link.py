"""Groups that a coordinator keeps: a member is a registered worker."""

from __future__ import annotations

from chronos_common.errors import ConfigurationError, WorkerUnknownError
from chronos_common.fleet import Epoch, GroupConfig, GroupView, Peer
from chronos_common.wire import ClientSecurity, DeadlineConfig, SyncCoordinatorClient
from chronos_worker.peers.config import regroup_seconds


class CoordinatorLink:
    """A member of a coordinator's group.

    It registers a worker of its own, whose calls are its heartbeats: a name that no other worker has.

    Args:
        address: host:port of the coordinator.
        group: name of the group.
        name: stable name of the member.
        config: of the group, the same for all members; by default one that begins with its first member.
        deadlines: the deadline budget; the coordinator's should be the same.
        security: TLS and the token; by default neither.
        client: a connection that others use too, and close; by default one of its own. A worker that is registered
            on it is the same process here.
    """

    def __init__(
        self,
        address: str,
        group: str,
        name: str,
        *,
        config: GroupConfig | None = None,
        deadlines: DeadlineConfig | None = None,
        security: ClientSecurity | None = None,
        client: SyncCoordinatorClient | None = None,
    ) -> None:
        budget = DeadlineConfig() if deadlines is None else deadlines
        self._own_client = client is None
        self._client = client or SyncCoordinatorClient(address, deadlines=budget, security=security)
        self._group = group
        self._name = name
        self._config = GroupConfig(grace_seconds=regroup_seconds(budget)) if config is None else config
        self._instance_id = self._client.instance_id
        self._address = ""
        self._peer: Peer | None = None
        self._heartbeat_seconds = 1.0

    @property
    def heartbeat_seconds(self) -> float:
        return self._heartbeat_seconds

    def open(self, address: str) -> Peer:
        self._address = address
        answer = self._client.register(self._name, self._instance_id, device="peer")
        self._heartbeat_seconds = answer.heartbeat_seconds
        self._peer = Peer(name=self._name, instance=str(answer.incarnation), address=address)
        return self._peer

    def join(self, known: Epoch | None) -> GroupView:
        try:
            return self._client.join_group(self._group, self._me, config=self._config, known=known)
        except WorkerUnknownError:  # the coordinator has another store than before
            self._client.register(self._name, self._instance_id, device="peer")
            return self._client.join_group(self._group, self._me, config=self._config, known=known)

    def watch(self, revision: int, entered: int, wait_seconds: float) -> GroupView:
        return self._client.watch_group(
            self._group,
            self._me,
            revision=max(0, revision),
            entered=entered,
            wait_seconds=wait_seconds,
        )

    def report(self, epoch: int) -> GroupView:
        return self._client.report_failure(self._group, self._me, epoch=epoch)

    def leave(self) -> None:
        self._client.leave_group(self._group, self._me)
        self._client.deregister(self._name, int(self._me.instance), reason="it leaves its peer group")

    def close(self) -> None:
        if self._own_client:
            self._client.close()

    @property
    def _me(self) -> Peer:
        if self._peer is None:
            raise ConfigurationError("the link has not been opened")
        return self._peer
