"""The environment of child processes."""

from __future__ import annotations

from chronos_common.runtime import MALLOC_TUNABLES, child_environment


def test_the_allocator_is_tuned_and_threads_are_bounded() -> None:
    env = child_environment({"PATH": "/bin"}, threads=2, EXTRA="1")
    assert env["PATH"] == "/bin"
    assert env["EXTRA"] == "1"
    assert env["OMP_NUM_THREADS"] == "2"
    assert set(env["GLIBC_TUNABLES"].split(":")) == {f"{k}={v}" for k, v in MALLOC_TUNABLES.items()}


def test_what_the_caller_set_is_kept() -> None:
    base = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0:glibc.rtld.nns=4", "OMP_NUM_THREADS": "7"}
    env = child_environment(base, threads=1)
    tunables = env["GLIBC_TUNABLES"].split(":")
    assert "glibc.malloc.hugetlb=0" in tunables
    assert "glibc.malloc.hugetlb=1" not in tunables
    assert "glibc.rtld.nns=4" in tunables
    assert (env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"]) == ("7", "1")


def test_threads_are_left_alone_unless_asked() -> None:
    assert "OMP_NUM_THREADS" not in child_environment({})


def test_this_process_s_environment_is_the_base_by_default() -> None:
    assert child_environment()["PATH"]
