"""One contract for each interface of breeding, over its whole table; then what sets each strategy apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from chronos_common.clan import (
    Allele,
    BoolAllele,
    Breeding,
    FloatAllele,
    Genome,
    IntAllele,
    LogFloatAllele,
    StringAllele,
)
from chronos_common.clan.alleles import ContinuousAllele
from chronos_common.clan.ancestry import ANCESTRIES, Ancestry, Boltzmann, EliteBreeds, TopN, Tournament
from chronos_common.clan.breeding import breeding_from_json
from chronos_common.clan.crossbreeding import CROSSBREEDINGS, SBX, Crossbreeding, WeightedAverage
from chronos_common.clan.mutation import MUTATIONS, Adaptation, Differential, Gaussian, Mutation, Perturb
from chronos_common.clan.randomness import stream
from chronos_common.errors import ConfigurationError

LOSSES: Sequence[float | None] = (3.0, math.nan, 1.0, 2.0, None, 1e300, 4.0, 5.0)


def genome(place: int, fitness: float | None = None) -> Genome:
    alleles: dict[str, Allele] = {
        "decay": LogFloatAllele(value=1e-3, domain=(1e-6, 1.0), can_mutate=False, can_crossbreed=False),
        "dropout": FloatAllele(value=place / 10, domain=(0.0, 0.9), specialised=True),
        "lr": LogFloatAllele(value=10.0 ** -(1 + place % 5), domain=(1e-6, 1.0)),
        "name": StringAllele(value="ab"[place % 2], domain=("a", "b")),
        "size": IntAllele(value=place + 1, domain=(1, 16)),
        "switch": BoolAllele(value=place % 2 == 0),
    }
    return Genome(genome_id=f"g{place}", alleles=alleles, fitness=fitness)


POPULATION = [genome(place, loss) for place, loss in enumerate(LOSSES)]


@pytest.fixture(params=sorted(ANCESTRIES))
def ancestry(request: pytest.FixtureRequest) -> Ancestry:
    return ANCESTRIES[request.param]()


class TestAncestry:
    def test_shares_are_a_distribution_over_as_many_parents_as_promised(self, ancestry: Ancestry) -> None:
        for seed in range(20):
            weights = ancestry.weights(POPULATION, stream(seed))
            assert weights.shape == (8,)
            assert (weights >= 0).all()
            assert weights.sum() == pytest.approx(1.0)
            parents = np.count_nonzero(weights)
            assert ancestry.fewest_parents <= parents <= (ancestry.most_parents or 8)

    def test_the_same_seed_gives_the_same_parents(self, ancestry: Ancestry) -> None:
        first, second = (ancestry.weights(POPULATION, stream(7)) for _ in range(2))
        assert (first == second).all()

    def test_less_loss_has_the_larger_share_and_nan_next_to_none(self, ancestry: Ancestry) -> None:
        mean = sum(ancestry.weights(POPULATION, stream(seed)) for seed in range(300)) / 300
        assert mean[2] == mean.max()
        assert mean[1] <= 0.02
        assert mean[4] <= 0.02

    def test_a_population_without_any_fitness_still_breeds(self, ancestry: Ancestry) -> None:
        nobody = [replace(member, fitness=math.nan) for member in POPULATION]
        assert ancestry.weights(nobody, stream(0)).sum() == pytest.approx(1.0)

    def test_who_has_no_finite_fitness_is_no_parent_while_others_have_one(self, ancestry: Ancestry) -> None:
        few = [
            replace(member, fitness=(-math.inf, math.nan, 2.0)[min(place, 2)])
            for place, member in enumerate(POPULATION[:3])
        ]
        for seed in range(20):
            assert np.flatnonzero(ancestry.weights(few, stream(seed))).tolist() == [2]


def test_boltzmann_does_not_overflow_and_follows_its_formula() -> None:
    losses = (1e308, -1e308, 0.0)
    weights = Boltzmann().weights([genome(i, loss) for i, loss in enumerate(losses)], stream(0))
    assert weights.tolist() == [0.0, 1.0, 0.0]
    weights = Boltzmann(temperature=2.0).weights([genome(0, 5000.0), genome(1, 5004.0)], stream(0))
    assert weights[1] / weights[0] == pytest.approx(math.exp(-2.0))


def test_a_tournament_of_everyone_has_one_winner() -> None:
    assert Tournament(size=99).weights(POPULATION, stream(0)).tolist() == [0, 0, 1, 0, 0, 0, 0, 0]


def test_top_n_takes_each_of_the_best_equally_often() -> None:
    mean = sum(TopN(share=0.25).weights(POPULATION, stream(seed)) for seed in range(400)) / 400
    assert mean[2] + mean[3] == pytest.approx(1.0)
    assert mean[2] == pytest.approx(0.5, abs=0.08)


@pytest.fixture(params=sorted(CROSSBREEDINGS))
def crossbreeding(request: pytest.FixtureRequest) -> Crossbreeding:
    return CROSSBREEDINGS[request.param]()


class TestCrossbreeding:
    parents = (POPULATION[3], POPULATION[6])

    def test_children_keep_genes_domains_and_what_may_not_be_mixed(
        self, crossbreeding: Crossbreeding
    ) -> None:
        for seed in range(20):
            alleles = crossbreeding.cross(self.parents, (0.6, 0.4), stream(seed))
            assert set(alleles) == set(self.parents[0].alleles)
            assert alleles["decay"] == self.parents[0].alleles["decay"]
            for name, allele in alleles.items():
                assert type(allele) is type(self.parents[0].alleles[name])

    def test_equal_parents_have_equal_children(self, crossbreeding: Crossbreeding) -> None:
        twins = (POPULATION[3], POPULATION[3])
        assert crossbreeding.cross(twins, (0.5, 0.5), stream(1)) == dict(POPULATION[3].alleles)

    def test_the_same_seed_gives_the_same_child(self, crossbreeding: Crossbreeding) -> None:
        first, second = (crossbreeding.cross(self.parents, (0.5, 0.5), stream(3)) for _ in range(2))
        assert first == second


def test_the_weighted_average_of_a_logarithmic_gene_is_geometric() -> None:
    one, two = genome(0), genome(2)
    child = WeightedAverage().cross((one, two), (0.75, 0.25), stream(0))
    assert child["lr"].expressed == pytest.approx(0.1**0.75 * 1e-3**0.25)
    assert child["name"].expressed == "a"


def test_sbx_spreads_children_around_their_dominant_parent() -> None:
    one, two = genome(0), genome(2)
    found = [SBX(eta=2.0).cross((one, two), (0.5, 0.5), stream(seed))["lr"] for seed in range(2000)]
    logs = [math.log10(allele.expressed) for allele in found]
    assert np.median(logs) == pytest.approx(-1.0, abs=0.03)
    assert np.mean([log < -1.0 for log in logs]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([abs(log + 1.0) < 0.5 for log in logs]) > 0.7


@pytest.fixture(params=sorted(MUTATIONS))
def mutation(request: pytest.FixtureRequest) -> Mutation:
    return MUTATIONS[request.param]()


class TestMutation:
    def test_domains_hold_and_what_may_not_mutate_stays(self, mutation: Mutation) -> None:
        for seed in range(50):
            alleles = mutation.mutate(POPULATION[3].alleles, POPULATION, stream(seed))
            assert alleles["decay"] == POPULATION[3].alleles["decay"]
            for allele in alleles.values():
                if isinstance(allele, ContinuousAllele):
                    assert allele.domain[0] <= allele.value <= allele.domain[1]

    def test_something_changes_and_the_same_seed_changes_it_alike(self, mutation: Mutation) -> None:
        first, second = (mutation.mutate(POPULATION[3].alleles, POPULATION, stream(5)) for _ in range(2))
        assert first == second
        assert first["lr"].expressed != POPULATION[3].alleles["lr"].expressed

    def test_no_direction_is_preferred(self, mutation: Mutation) -> None:
        middle = {"lr": LogFloatAllele(value=1e-3, domain=(1e-6, 1.0))}
        found = [mutation.mutate(middle, POPULATION, stream(seed))["lr"].expressed for seed in range(600)]
        assert np.mean([value > 1e-3 for value in found]) == pytest.approx(0.5, abs=0.07)


def test_standard_deviations_adapt_by_a_log_normal_factor_within_bounds() -> None:
    alleles = {"lr": LogFloatAllele(value=1e-3, domain=(1e-6, 1.0))}
    stds = []
    for seed in range(2000):
        (std,) = Gaussian().mutate(alleles, POPULATION, stream(seed))["lr"].metadata.values()
        assert 0.05 <= std.expressed <= 1.0
        stds.append(math.log(std.expressed / 0.2))
    assert np.mean(stds) == pytest.approx(0.0, abs=0.08)
    again = dict(alleles)
    for seed in range(200):
        again = Gaussian().mutate(again, POPULATION, stream(seed))
    assert 0.05 <= again["lr"].metadata["std"].expressed <= 1.0


def test_the_size_of_a_gaussian_step_is_the_standard_deviation() -> None:
    std = LogFloatAllele(value=0.1, domain=(0.0999999, 0.1), can_mutate=False)
    alleles = {"lr": LogFloatAllele(value=1e-3, domain=(1e-6, 1.0), metadata={"std": std})}
    quiet = replace(Gaussian(), adaptation=replace(Gaussian().adaptation, low=0.0999999, start=0.1, high=0.1))
    steps = [math.log(quiet.mutate(alleles, [], stream(s))["lr"].expressed / 1e-3) for s in range(2000)]
    assert np.std(steps) == pytest.approx(0.1, rel=0.06)


def test_ray_rules_multiply_by_1_2_or_0_8_or_draw_anew() -> None:
    alleles = {"lr": LogFloatAllele(value=1e-3, domain=(1e-6, 1.0))}
    found = [round(Perturb().mutate(alleles, [], stream(seed))["lr"].expressed, 9) for seed in range(400)]
    assert found.count(1.2e-3) / 400 == pytest.approx(0.375, abs=0.07)
    assert found.count(0.8e-3) / 400 == pytest.approx(0.375, abs=0.07)


def test_differential_evolution_of_equals_hardly_moves() -> None:
    equals = [genome(2, 1.0) for _ in range(4)]
    found = Differential().mutate(equals[0].alleles, equals, stream(1))
    assert found["lr"].expressed == pytest.approx(1e-3, rel=0.2)


def test_combinations_that_cannot_work_are_refused_when_they_are_made() -> None:
    with pytest.raises(ConfigurationError, match="EliteBreeds"):
        Breeding(ancestry=TopN(), crossbreeding=SBX())
    with pytest.raises(ConfigurationError, match="raise it"):
        EliteBreeds(elite=1, parents=2)
    with pytest.raises(ConfigurationError, match="needs 3"):
        Breeding(mutation=Differential()).require_population(2)
    Breeding(ancestry=EliteBreeds(), crossbreeding=SBX()).require_population(2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tournament(size=2.5),  # type: ignore[arg-type]
        lambda: Tournament(rounds=True),
        lambda: EliteBreeds(elite=math.nan, parents=1),  # type: ignore[arg-type]
        lambda: TopN(share="all"),  # type: ignore[arg-type]
        lambda: SBX(eta=None),  # type: ignore[arg-type]
        lambda: Gaussian(chance=True),
        lambda: Adaptation(high=math.inf),
    ],
)
def test_settings_that_no_strategy_can_use_are_refused_when_it_is_made(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize("ancestry_name", sorted(ANCESTRIES))
@pytest.mark.parametrize("crossing", sorted(CROSSBREEDINGS))
@pytest.mark.parametrize("mutating", sorted(MUTATIONS))
def test_every_combination_breeds_or_is_refused(ancestry_name: str, crossing: str, mutating: str) -> None:
    parts = (ANCESTRIES[ancestry_name](), CROSSBREEDINGS[crossing](), MUTATIONS[mutating]())
    if crossing == "sbx" and ancestry_name != "elite_breeds":
        with pytest.raises(ConfigurationError):
            Breeding(ancestry=parts[0], crossbreeding=parts[1], mutation=parts[2])
        return
    breeding = Breeding(ancestry=parts[0], crossbreeding=parts[1], mutation=parts[2])
    assert breeding_from_json(breeding.to_json()) == breeding
    child = breeding.breed(POPULATION, born=3, draw=stream(0))
    assert child.genome.born == 3
    assert child.genome.parents[0] == POPULATION[child.source].genome_id
    assert child.genome.fitness is None
