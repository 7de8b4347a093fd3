"""What the report shows of architecture parameters, as `Alphas` writes them."""

import json

import numpy as np
import pytest

from nas_cli.report import load_run
from nas_samplers import Alphas
from nas_spaces import InputError


@pytest.fixture
def betanas(make_run):
    """Alphas drift apart; what is far below the mean of the others is dropped."""
    run = make_run(method="betanas")
    steps, drop_below = 1200, 0.6
    space, rng = run.space, np.random.default_rng(2)
    alphas = Alphas(space)
    drift = rng.normal(0, 1, alphas.values.shape)
    for step in range(steps):
        rows = [[rng.choice(np.flatnonzero(live)) for live in alphas.alive]]
        alphas.count(np.array(rows))
        if step % 10 == 9 and step > steps // 8:
            move = 0.9 * 10 / steps * drift + 0.01 * rng.standard_normal(drift.shape)
            alphas.values += np.where(alphas.alive, move, 0)
            for choice, live in enumerate(alphas.alive):
                value = np.where(live, alphas.values[choice], np.inf)
                mean = alphas.values[choice][live].mean()
                if live.sum() > 1 and value.min() < mean - drop_below:
                    alphas.drop(choice, int(value.argmin()))
            alphas.snapshot()
    run.write("train/alphas.json", alphas.to_record())
    run.alphas = alphas
    return run


@pytest.fixture
def bare(make_run):
    return make_run()


def test_alphas_are_drawn_choice_by_choice_on_the_same_axes(betanas):
    page = betanas.page()
    choices = betanas.space.choices
    figures = [page.figure(f"Options of {choice.name} by step") for choice in choices]
    assert len({json.dumps(f["layout"]["yaxis"]["range"]) for f in figures}) == 1
    assert len({json.dumps(f["layout"]["yaxis2"]["range"]) for f in figures}) == 1
    for index, (choice, figure) in enumerate(zip(choices, figures, strict=True)):
        assert [one["name"] for one in figure["data"][::2]] == list(choice.options)
        for option, (p, count) in enumerate(
            zip(figure["data"][::2], figure["data"][1::2], strict=True)
        ):
            assert count["y"][-1] == betanas.alphas.counts[index, option]
            if betanas.alphas.alive[index, option]:
                expected = betanas.alphas.probabilities()[index, option]
                assert p["y"][-1] == pytest.approx(expected, abs=1e-4)


def test_drops_are_marked_where_they_happened(betanas):
    page = betanas.page()
    dropped = betanas.alphas.dropped
    assert dropped
    for one in dropped:
        choice = betanas.space.choices[one.choice]
        figure = page.figure(f"Options of {choice.name} by step")
        line = figure["data"][2 * one.option]
        assert line["x"][-1] == one.step
        assert line["marker"]["symbol"][-1] == "x"
        assert f"step {one.step:,}: {choice.options[one.option]} of {choice.name}" in page.text
    live, all_of_them = betanas.alphas.alive.sum(), sum(betanas.space.num_options)
    assert f"{len(dropped)} of {all_of_them} candidates were dropped and {live} are" in page.text
    total, heat = page.figure("Number of live candidates")["data"]
    assert total["y"][0] == all_of_them
    assert total["y"][-1] == live
    assert np.array(heat["z"])[:, -1].tolist() == betanas.alphas.alive.sum(axis=1).tolist()


def test_alphas_of_a_method_that_drops_nothing_and_draws_nothing(bare):
    bare.write("train/alphas.json", Alphas(bare.space).to_record())
    page = bare.page()
    assert "No candidate was dropped." in page.text
    assert not any(name.startswith("Number of live") for name in page.figures)
    figure = page.figure(f"Options of {bare.space.choices[0].name} by step")
    assert "yaxis2" not in figure["layout"]
    # Of a single moment a line would show nothing.
    assert {one["mode"] for one in figure["data"]} == {"lines+markers"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"alphas": [[1.0]]}, "alphas has shape"),
        ({"alive": "no"}, "alive is no table"),
        ({"dropped": [{"step": 1, "choice": 0, "option": 4}]}, "no such option"),
        ({"steps": None}, "steps"),
    ],
)
def test_malformed_alphas_are_named(bare, change, says):
    path = bare.path / "train" / "alphas.json"
    bare.write("train/alphas.json", Alphas(bare.space).to_record() | change)
    with pytest.raises(InputError, match=says) as caught:
        load_run(bare.path)
    assert str(path) in str(caught.value)
