"""What the report shows of a distribution over architectures, as `Distribution` writes it."""

import json

import numpy as np
import pytest

import nas_hw
from nas_cli.report import load_run
from nas_cli.report.words import si
from nas_samplers import Distribution
from nas_spaces import History, InputError


@pytest.fixture
def fpnas(make_run):
    """A distribution that grows certain, joined after 300 of 600 steps."""
    run = make_run(method="fpnas")
    distribution, rng = Distribution(run.space), np.random.default_rng(3)
    macs = nas_hw.macs(run.space)
    for step in range(600):
        if step == 300:
            distribution.join()
        rows = max(2, round(0.5 * distribution.entropy()))
        distribution.count(distribution.sample(rows, rng=rng))
        distribution.values += np.where(distribution.alive, 0.01 * np.sign(drift(distribution)), 0)
        distribution.snapshot(macs)
    mode_cost = float(macs([distribution.mode()])[0])
    record = distribution.to_record(macs) | {"cost": "macs", "target": 1e6, "mode_cost": mode_cost}
    run.write("train/distribution.json", record)
    run.distribution, run.record = distribution, record
    return run


def drift(distribution):
    """Return what makes the first combinations of each factor more probable."""
    return 0.5 - np.arange(distribution.values.shape[1])[None]


def test_entropy_paths_and_cost_are_drawn_over_the_steps(fpnas):
    page = fpnas.page()
    figure = page.figure("Entropy, paths of a step and expected cost by step")
    entropy, rows, cost = figure["data"]
    assert entropy["x"] == fpnas.record["steps"]
    assert entropy["y"] == pytest.approx(fpnas.record["entropy"])
    # Before the first step no path was drawn, and no cost expected.
    assert rows["y"] == fpnas.record["rows"][1:]
    assert cost["y"] == pytest.approx(fpnas.record["costs"][1:])
    shapes = {(one["type"], one["line"]["dash"]) for one in figure["layout"]["shapes"]}
    assert shapes == {("line", "dash"), ("line", "dot")}
    target, *joined = sorted(figure["layout"]["shapes"], key=lambda one: one["line"]["dash"])
    assert target["y0"] == target["y1"] == 1e6
    assert {one["x0"] for one in joined} == {300}
    low, high = figure["layout"]["yaxis3"]["range"]
    assert low == 0 and high > 1e6
    drawn = fpnas.record["sampled"][-1]
    assert f"{drawn:,} paths were drawn in 600 steps." in page.text
    assert "from step 300 on those of a group have one together" in page.text
    assert "The target is 1 M MACs" in page.text
    share = fpnas.record["mode_cost"] / 1e6
    cost = si(1e6 * share).replace("\N{NO-BREAK SPACE}", " ")
    assert f"the most probable architecture has {cost}, {share:.2f} of the target" in page.text


def test_the_probabilities_at_the_end(fpnas):
    page = fpnas.page()
    [heat] = page.figure("Probability of each option of each choice at the end")["data"]
    expected = 100 * fpnas.distribution.marginals()
    for z, text, own, best in zip(
        heat["z"], heat["text"], expected, fpnas.distribution.mode(), strict=True
    ):
        there = [value for value in z if value is not None]
        assert there == pytest.approx(own[: len(there)], abs=0.01)
        assert text.index("★") == best


def test_the_mode_among_samples(fpnas):
    archs = np.zeros((10, fpnas.space.num_choices), dtype=np.int64)
    archs[:, 0] = np.arange(10) % 4
    values = np.stack([np.zeros(10), np.full(10, 0.2), np.full(10, 9e5), np.full(10, 4e4)], axis=1)
    names, units = ("generation", "error", "macs", "params"), ("1", "1", "1", "1")
    fpnas.write("searches/main/result.json", {})
    path = fpnas.path / "searches/main/result.json"
    path.with_name("history.csv").write_text(History(names, units, archs, values).to_csv())
    result = {
        "name": "main",
        "limits": [],
        "winner": archs[0].tolist(),
        "values": {"error": 0.2, "macs": 9e5, "params": 4e4},
        "evaluated": 10,
        "space_size": 200_000,
    }
    samples = {"evaluated": 9, "better": 2, "errors": [0.1, 0.25]}
    for proven, words in ((True, "the most probable"), (False, "the most probable that was found")):
        path.write_text(json.dumps(result | {"samples": samples, "proven": proven}))
        says = (
            f"It is {words} by what the training learned; of 9 others drawn from that, "
            "with a top-1 of 75.0 to 90.0 %, 2 are better."
        )
        assert says in fpnas.page().text
    for winners, words in ((11, "11 of 20 draws from that within the limits are"), (0, "none of")):
        drawn = {"drawn": 20, "winner": winners}
        path.write_text(json.dumps(result | {"samples": samples | drawn}))
        assert f"by what the training learned; {words}" in fpnas.page().text
    certain = {"evaluated": 0, "better": 0, "drawn": 20, "winner": 20}
    path.write_text(json.dumps(result | {"samples": certain}))
    text = fpnas.page().text
    assert "20 of 20 draws from that within the limits are the winner." in text
    assert "others drawn from that" not in text
    assert "a more probable one" not in text
    other = archs[1].tolist()
    path.write_text(json.dumps(result | {"winner": other, "samples": samples}))
    assert "within the limits, beyond which there is a more probable one; of 9" in fpnas.page().text


def test_joint_from_the_beginning_with_a_cost_that_is_a_maximum(make_run):
    run = make_run(method="parsec")
    record = Distribution(run.space, joint=True).to_record() | {"cost": "peak_memory", "target": 9}
    run.write("train/distribution.json", record)
    page = run.page()
    figure = page.figure("Entropy, paths of a step and expected cost by step")
    assert len(figure["data"]) == 2
    assert not figure["layout"].get("shapes")
    assert "Choices of a group have one categorical together:" in page.text
    assert "The target is 9 peak memory." in page.text
    assert (
        "dashed line" not in page.text.split("From above: the entropy")[1].split("How probable")[0]
    )


def test_without_a_cost_and_never_joined(make_run):
    run = make_run(method="fpnas")
    distribution = Distribution(run.space)
    run.write("train/distribution.json", distribution.to_record())
    page = run.page()
    figure = page.figure("Entropy, paths of a step and expected cost by step")
    assert len(figure["data"]) == 2
    assert not figure["layout"].get("shapes")
    assert "Each choice has a categorical of its own" in page.text
    assert "The target is" not in page.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"entropy": [1.0, 2.0]}, "moments"),
        ({"marginals": [[[1.0]]]}, "marginals has rows of lengths"),
        ({"marginals": [3]}, "not iterable"),
        ({"mode": [99]}, "8 choices"),
        ({"steps": None}, "steps"),
        ({"rows": "no"}, "rows"),
    ],
)
def test_a_malformed_file_is_named(make_run, change, says):
    run = make_run(method="fpnas")
    run.write("train/distribution.json", Distribution(run.space).to_record() | change)
    with pytest.raises(InputError, match=says) as caught:
        load_run(run.path)
    assert str(run.path / "train" / "distribution.json") in str(caught.value)
