"""Refusals: a protocol said no, and nothing changed."""

from __future__ import annotations

from chronos_common.errors.base import ChronosError


class RefusalError(ChronosError):
    """A well-formed request that the protocol refuses; state is unchanged."""

    reason = "REFUSED"


class InvalidRequestError(RefusalError):
    """A request with a field that is missing or out of range; the message names the field."""

    reason = "INVALID_REQUEST"


class RunNotFoundError(RefusalError):
    """No run of that id."""

    reason = "RUN_NOT_FOUND"


class RunExistsError(RefusalError):
    """A run of that id exists with another configuration."""

    reason = "RUN_EXISTS"


class RunNotActiveError(RefusalError):
    """The run has finished or was stopped."""

    reason = "RUN_NOT_ACTIVE"


class MemoryOffError(RefusalError):
    """The run was created without a memory."""

    reason = "MEMORY_OFF"


class DataPlanNotFoundError(RefusalError):
    """No data plan with this id."""

    reason = "DATA_PLAN_NOT_FOUND"


class DataPlanExistsError(RefusalError):
    """A data plan with this id and another definition exists."""

    reason = "DATA_PLAN_EXISTS"


class SizesDisagreeError(RefusalError):
    """Sizes of samples that were told before, and otherwise."""

    reason = "SIZES_DISAGREE"


class RankTakenError(RefusalError):
    """Two living workers under one rank of a data plan."""

    reason = "RANK_TAKEN"


class ShareLostError(RefusalError):
    """A share that was given to other workers, since its holder had left or fallen silent."""

    reason = "SHARE_LOST"


class EpochNotOverError(RefusalError):
    """An epoch of a data plan cannot begin: the one before is not over, or it is over itself."""

    reason = "EPOCH_NOT_OVER"


class ClanNotFoundError(RefusalError):
    """No clan with this id."""

    reason = "CLAN_NOT_FOUND"


class ClanExistsError(RefusalError):
    """A clan with this id and another definition exists."""

    reason = "CLAN_EXISTS"


class ClanFullError(RefusalError):
    """Every place of a clan is taken by a living worker."""

    reason = "CLAN_FULL"


class SeatTakenError(RefusalError):
    """Another living worker has the place of a clan that was asked for."""

    reason = "SEAT_TAKEN"


class RoundMismatchError(RefusalError):
    """A round of a clan that has not begun, or that is not kept any more."""

    reason = "ROUND_MISMATCH"


class GenomeMismatchError(RefusalError):
    """A fitness that was measured with another genome than the member's."""

    reason = "GENOME_MISMATCH"


class PeerUnknownError(RefusalError):
    """The process is no candidate of its peer group; it must join again, and comes back as a joiner."""

    reason = "PEER_UNKNOWN"


class WorkerUnknownError(RefusalError):
    """The worker never registered; it must call Register first."""

    reason = "WORKER_UNKNOWN"


class WorkerNotMemberError(RefusalError):
    """The worker never checked out a version of this run."""

    reason = "WORKER_NOT_MEMBER"


class IncarnationSupersededError(RefusalError):
    """A newer process of the same worker id has registered."""

    reason = "INCARNATION_SUPERSEDED"


class ChainBrokenError(RefusalError):
    """``prev_applied`` is not the last applied sequence number.

    ``details['last_applied']`` holds the true one: the worker resolves its pending commits with it.
    """

    reason = "CHAIN_BROKEN"


class UnknownVersionError(RefusalError):
    """A base version that never existed, or was not yet published, or another fragment set."""

    reason = "UNKNOWN_VERSION"


class StaleCommitError(RefusalError):
    """The commit's base is further behind than ``max_staleness``."""

    reason = "STALE_COMMIT"
