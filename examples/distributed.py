"""The same through a coordinator and two workers: here in one script, elsewhere on many machines.

python -m examples.distributed
"""

from chronos_common.codec import decode, encode
from chronos_common.engine import WorkSpec
from chronos_common.engine.local import describe_run
from chronos_common.wire import SyncCoordinatorClient
from chronos_coordinator import EmbeddedCoordinator
from chronos_worker import Worker, WorkerConfig
from examples.ridge import Ridge

work = WorkSpec(problem="examples.ridge:Ridge", estimator="implicit", inner_steps=50)
config, start = describe_run(Ridge(), work=work, max_versions=100)


def worker(name: str, address: str) -> Worker:
    """A worker in a thread of this process; it imports only the problem that it is allowed to."""
    return Worker(WorkerConfig(coordinator=address, worker_id=name, problems=("examples.ridge:*",)))


with (
    EmbeddedCoordinator("chronos-data") as coordinator,
    SyncCoordinatorClient(coordinator.address) as client,
    worker("first", coordinator.address),
    worker("second", coordinator.address),
):
    run = client.create_run(config, encode("identity", start))
    for update in client.watch_run(run.run_id):
        if update.record is not None and update.record.version % 20 == 0:
            print(
                f"version {update.record.version}: validation loss {update.record.metrics['outer_loss']:.4f}"
            )
    checkout = client.checkout(run.run_id)
    assert checkout.snapshot is not None
    print("journal verified:", client.verify_run(run.run_id).clean)
    print("log weight decay:", decode(checkout.snapshot)["decay"].round(2))
