"""Messages of the contract to plain dataclasses and back; the only code that knows both.

``scalars`` holds times, names, versions and enums with their checks, ``config`` a run's definition, ``views``
what clients read about runs, ``calls`` the requests and answers of workers. Functions are called
``..._to_pb`` and ``..._from_pb``; whatever comes from a request is checked here, so that nothing behind it
meets a negative time, an unknown enum value or an infinite metric.

To carry a new field: the proto, the dataclass, one line in each of its two functions; the round-trip test
fails until all of them agree.
"""
