import inspect

import attrs
import numpy as np
import pytest
import torch

from nas_cli.compare_methods import (
    METHODS,
    SEARCHERS,
    STREAMS,
    TORCH,
    EvolutionConfig,
    FNASConfig,
    Methods,
    RandomConfig,
    build_searcher,
    check_methods,
    override_methods,
    rng_of,
)
from nas_cli.ppo_settings import BufferConfig, CriticConfig, PolicyConfig
from nas_spaces import FeasibleSet, InputError, published

SPACE = published.load("nas-bench-201-reduce-3")
FEASIBLE = FeasibleSet(SPACE)


def build(method, settings=None, budget=50):
    rng = np.random.default_rng(0)
    return build_searcher(method, settings or Methods(), FEASIBLE, rng=rng, budget=budget)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_method_has_a_searcher_and_a_stream_of_its_own():
    assert METHODS == ("random", "evolution", "regularized", "nsga2", "ppo", "fnas")
    assert set(METHODS) == {*SEARCHERS, *TORCH} == set(STREAMS)
    assert not set(SEARCHERS) & set(TORCH)
    assert len(set(STREAMS.values())) == len(STREAMS)


@pytest.mark.parametrize("method", METHODS)
def test_searchers_are_made_with_their_settings(method):
    searcher = build(method)
    own = getattr(Methods(), method)
    of_search = own.policy if method in TORCH else own
    for key, value in attrs.asdict(of_search).items():
        if method in SEARCHERS or key in ("batch", "baseline", "pick", "resampled"):
            assert getattr(searcher, key) == value
    archs = searcher.ask()
    searcher.tell(archs, np.linspace(0.3, 0.6, len(archs))[:, None])


def test_fnas_is_ppo_with_its_parts():
    ppo, fnas = build("ppo"), build("fnas")
    assert (ppo.critic, ppo.buffer) == (None, None)
    assert (fnas.critic.hidden, fnas.buffer.capacity, fnas.budget) == (200, 10, 50)
    assert (ppo.policy.entropy, ppo.batch, ppo.pick) == (0.1, 10, "promising")
    given = [{"fnas": {"critic": None, "policy": {"entropy": 1}}}]
    part = build("fnas", override_methods(Methods(), ["fnas"], given))
    assert (part.critic, part.buffer.capacity, part.policy.entropy) == (None, 10, 1)


@pytest.mark.parametrize("method", SEARCHERS)
def test_all_numbers_can_be_set(method):
    """A parameter that is added to a searcher is to be added to the settings too."""
    parameters = set(inspect.signature(SEARCHERS[method]).parameters)
    given = {"space", "rng", "feasible", "mutator", "random_mutation"}
    assert parameters - given == set(attrs.asdict(getattr(Methods(), method)))


def test_each_search_has_a_generator_of_its_own():
    drawn = {
        rng_of(seed, method, index).random()
        for seed in (0, 1)
        for method in METHODS
        for index in (0, 1)
    }
    assert len(drawn) == 4 * len(METHODS)
    assert rng_of(3, "ppo", 7).random() == rng_of(3, "ppo", 7).random()


def test_settings_are_merged_over_the_defaults():
    given = [
        {"fnas": {"critic": {"threshold": None}}},
        {"fnas": {"critic": {"least": 9}, "policy": {"lr": 1}}},
    ]
    found = override_methods(Methods(), ["random", "fnas"], given)
    assert found == Methods(
        fnas=FNASConfig(policy=PolicyConfig(lr=1.0), critic=CriticConfig(threshold=None, least=9))
    )
    assert type(found.fnas.policy.lr) is float
    again = override_methods(found, ["fnas"], [{"fnas": {"buffer": None}}])
    assert again == attrs.evolve(found, fnas=attrs.evolve(found.fnas, buffer=None))
    back = override_methods(again, ["fnas"], [{"fnas": {"buffer": {"share": 0.25}}}])
    assert back.fnas == attrs.evolve(found.fnas, buffer=BufferConfig(share=0.25))
    later = [{"random": {"batch": 3}}, {"random": {"batch": 4}}]
    assert override_methods(Methods(), ["random"], later).random == RandomConfig(batch=4)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["fnass"], "--methods: 'fnass' is unknown: did you mean 'fnas'"),
        ([], "--methods names none: valid: evolution, fnas"),
        (["ppo", "ppo"], "names 'ppo' twice"),
    ],
)
def test_methods_that_are_refused(names, says):
    with pytest.raises(InputError, match=says):
        check_methods(names)


@pytest.mark.parametrize(
    ("names", "given", "says"),
    [
        (["ppo"], {"pp": {"policy": {"lr": 1}}}, r"'pp\.policy\.lr' .* mean 'ppo\.policy\.lr'"),
        (["ppo"], {"ppo": 1}, r"'ppo' is a table, received 1; .* like ppo\.policy\.batch"),
        (["ppo"], {"ppo": None}, r"'ppo' is a table, received None"),
        (
            ["ppo"],
            {"fnas": {"policy": {"lr": 1}}},
            r"--set fnas\.policy\.lr: fnas is not among --methods ppo",
        ),
        (["ppo"], {"fnas": {}}, r"--set fnas: fnas is not among --methods ppo"),
        (["ppo"], {"ppo": {"lr": 1}}, r"'ppo\.lr' is unknown: did you mean 'ppo\.policy\.lr'"),
        (["ppo"], {"ppo": {"lr": 1}}, r"every setting stands in a comparison's settings\.json"),
        (["ppo"], {"ppo": {"policy": {"lrr": 1}}}, r"did you mean 'ppo\.policy\.lr'"),
        (["ppo"], {"ppo": {"critic": None}}, r"'ppo\.critic' is unknown"),
        (["fnas"], {"fnas": {"critic": {"treshold": 1}}}, r"mean 'fnas\.critic\.threshold'"),
        (["fnas"], {"fnas": {"crtic": {"least": 1}}}, r"mean 'fnas\.critic\.least'"),
        (["fnas"], {"fnas": {"critic": 3}}, r"received 3; .* like fnas\.critic\.hidden"),
        (["fnas"], {"fnas": {"policy": None}}, r"'fnas\.policy' is a table, received None"),
        (["ppo"], {"ppo": {"policy": {"lr": {"x": 1}}}}, r"'ppo\.policy\.lr' is no table"),
        (["evolution"], {"evolution": {"parents": 0}}, r"parents must be >= 1; received 0"),
    ],
)
def test_settings_that_are_refused(names, given, says):
    with pytest.raises(InputError, match=says):
        override_methods(Methods(), names, [given])


@pytest.mark.parametrize(
    ("part", "key", "value", "says"),
    [
        ("policy", "lr", "x", "must be a number; received 'x'"),
        ("policy", "lr", True, "must be a number; received True"),
        ("policy", "lr", None, "must be a number; received None"),
        ("policy", "lr", float("inf"), "must be a number; received inf"),
        ("policy", "batch", 1.5, "must be a whole number; received 1.5"),
        ("policy", "batch", 0, "must be >= 1; received 0"),
        ("policy", "standardise", 1, "must be true or false; received 1"),
        ("policy", "pick", 1, "cannot be 1: valid: drawn, promising, uncertain"),
        ("critic", "threshold", "low", "must be a number; received 'low'"),
        ("critic", "threshold", -1, r"must be >= 0; received -1\.0"),
        ("buffer", "capacity", 0, "must be >= 1; received 0"),
        ("buffer", "share", 1, r"must be < 1; received 1\.0"),
    ],
)
def test_values_that_are_refused(part, key, value, says):
    with pytest.raises(InputError, match=rf"^setting fnas\.{part}\.{key} {says}$"):
        override_methods(Methods(), ["fnas"], [{"fnas": {part: {key: value}}}])


def test_settings_that_do_not_fit_together_name_the_option():
    settings = Methods(evolution=EvolutionConfig(crossover=15))
    with pytest.raises(
        InputError, match=r"evolution: crossover=15 .* by --set evolution\.KEY=VALUE"
    ):
        build("evolution", settings)
    settings = Methods(fnas=FNASConfig(policy=PolicyConfig(baseline="critic"), critic=None))
    with pytest.raises(InputError, match=r"fnas: baseline='critic' .* by --set fnas\.KEY=VALUE"):
        build("fnas", settings)
