"""Alleles keep their domains, round away the last place, and agree with each other."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_common.clan import (
    ALLELES,
    Allele,
    BoolAllele,
    FloatAllele,
    Genome,
    IntAllele,
    LogFloatAllele,
    StringAllele,
    genome_from_json,
    walk,
)
from chronos_common.clan.genome import allele_from_json, allele_to_json, consensus
from chronos_common.errors import ConfigurationError, CorruptStateError

STD = LogFloatAllele(
    value=0.2, domain=(0.05, 1.0), metadata={"chance": FloatAllele(value=0.5, domain=(0, 1))}
)
ONE_OF_EACH: dict[str, Allele] = {
    "bool": BoolAllele(value=True, can_mutate=False),
    "float": FloatAllele(value=0.25, domain=(0.0, 1.0), specialised=True),
    "int": IntAllele(value=3.5, domain=(1, 8), can_crossbreed=False),
    "log_float": LogFloatAllele(value=1e-3, domain=(1e-6, 1.0), metadata={"std": STD}),
    "string": StringAllele(value="a", domain=("a", "b")),
}


def test_every_kind_is_covered_here() -> None:
    assert set(ONE_OF_EACH) == set(ALLELES)


@pytest.mark.parametrize("kind", ALLELES)
def test_through_json_and_back(kind: str) -> None:
    stored = json.loads(json.dumps(allele_to_json(ONE_OF_EACH[kind])))
    assert allele_from_json(stored) == ONE_OF_EACH[kind]


def test_a_genome_through_json_and_back() -> None:
    genome = Genome(genome_id="x", alleles=ONE_OF_EACH, parents=("y", "z"), born=4, fitness=1.5)
    again = genome_from_json(json.loads(json.dumps(genome.to_json())))
    assert again == genome
    assert again.fitness == 1.5


@pytest.mark.parametrize(
    "damaged", [{}, {"kind": "none"}, {"kind": "float", "metadata": {}, "value": 3, "domain": [0, 1]}]
)
def test_damaged_alleles_are_refused(damaged: dict[str, object]) -> None:
    with pytest.raises(CorruptStateError):
        allele_from_json(damaged)


@pytest.mark.parametrize(
    "damage",
    [
        {"domain": ["a", "b"]},
        {"domain": [1]},
        {"domain": [0, 1, 2]},
        {"domain": [0, 10**400]},
        {"value": True},
        {"value": "x"},
        {"value": 10**400},
        {"can_mutate": "no"},
        {"specialised": 1},
        {"metadata": {"std": 5}},
    ],
)
def test_one_damaged_field_of_an_allele_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(CorruptStateError):
        allele_from_json({**allele_to_json(ONE_OF_EACH["float"]), **damage})


@pytest.mark.parametrize(
    "damage", [{"fitness": "x"}, {"born": -1}, {"born": math.inf}, {"genome_id": None}, {"parents": [1]}]
)
def test_one_damaged_field_of_a_genome_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(CorruptStateError):
        genome_from_json({**Genome(genome_id="x", alleles=ONE_OF_EACH).to_json(), **damage})


def test_alleles_nested_without_end_are_refused() -> None:
    stored = allele_to_json(ONE_OF_EACH["float"])
    for _ in range(5000):
        stored = {**stored, "metadata": {"std": stored}}
    with pytest.raises(CorruptStateError):
        allele_from_json(stored)


@given(st.floats(), st.sampled_from(["float", "int", "log_float"]))
def test_no_coordinate_leaves_the_domain(coordinate: float, kind: str) -> None:
    allele = ONE_OF_EACH[kind]
    assert isinstance(allele, FloatAllele | IntAllele | LogFloatAllele)
    moved = allele.at(coordinate)
    assert allele.domain[0] <= moved.value <= allele.domain[1]
    assert allele.domain[0] <= moved.expressed <= allele.domain[1]
    assert moved.metadata == allele.metadata


def test_the_largest_domain_holds_every_coordinate_and_mean() -> None:
    wide = LogFloatAllele(value=1.0, domain=(5e-324, 1e300))
    top = wide.at(1e308)
    assert top.expressed == 1e300
    assert top.at(top.coordinate).expressed == pytest.approx(1e300)
    real = FloatAllele(value=1e300, domain=(-1e300, 1e300))
    assert real.consensus([real] * 4095).expressed == pytest.approx(1e300)


def test_values_do_not_depend_on_the_last_place_of_a_logarithm() -> None:
    allele = LogFloatAllele(value=1.0, domain=(1e-3, 1e3))
    coordinate = math.log(7.0)
    assert (
        allele.at(coordinate)
        == allele.at(math.nextafter(coordinate, 9.0))
        == allele.at(math.nextafter(coordinate, 0))
    )


def test_whole_numbers_are_backed_by_real_ones() -> None:
    allele = IntAllele(value=2.0, domain=(1, 9))
    assert [allele.at(2.0 + 0.2 * k).expressed for k in range(4)] == [2, 2, 2, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda: FloatAllele(value=2.0, domain=(0.0, 1.0)),
        lambda: FloatAllele(value=math.nan, domain=(0.0, 1.0)),
        lambda: FloatAllele(value=1.0, domain=(1.0, 1.0)),
        lambda: LogFloatAllele(value=0.0, domain=(0.0, 1.0)),
        lambda: StringAllele(value="c", domain=("a", "b")),
        lambda: Genome(genome_id="x", alleles={}),
        lambda: Genome(genome_id="x", alleles={"lr": 3.0}),  # type: ignore[dict-item]
        lambda: FloatAllele(value=0.0, domain=(-1e308, 1e308)),
        lambda: FloatAllele(value=0.5, domain=(0.0, 1.0), metadata={"std": 3.0}),  # type: ignore[dict-item]
        lambda: IntAllele(value=0.5, domain=(0.2, 0.8)),
        lambda: IntAllele(value=0, domain=(0, 1e18)),
        lambda: BoolAllele(value="maybe"),  # type: ignore[arg-type]
        lambda: StringAllele(value="a", domain="abc"),  # type: ignore[arg-type]
        lambda: StringAllele(value=1, domain=(1, 2)),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ConfigurationError):
        make()


def test_consensus_is_geometric_mean_mean_median_or_majority_of_the_specialised() -> None:
    def genome(rate: float, drop: float, size: float, name: str, switch: bool) -> Genome:
        return Genome(
            genome_id="x",
            alleles={
                "drop": FloatAllele(value=drop, domain=(0, 1), specialised=True),
                "free": FloatAllele(value=drop, domain=(0, 1)),
                "name": StringAllele(value=name, domain=("a", "b"), specialised=True),
                "rate": LogFloatAllele(value=rate, domain=(1e-6, 1), specialised=True),
                "size": IntAllele(value=size, domain=(1, 64), specialised=True),
                "switch": BoolAllele(value=switch, specialised=True),
            },
        )

    agreed = consensus(
        (genome(1e-4, 0.1, 1, "a", True), genome(1e-2, 0.3, 2, "b", False), genome(1e-3, 0.8, 60, "b", False))
    )
    assert agreed == {
        "drop": pytest.approx(0.4),
        "name": "b",
        "rate": pytest.approx(1e-3),
        "size": 2,
        "switch": False,
    }


def test_walk_goes_through_metadata_parents_first() -> None:
    assert [path for path, _ in walk({"lr": ONE_OF_EACH["log_float"]})] == ["lr", "lr/std", "lr/std/chance"]
