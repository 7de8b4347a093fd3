"""What the report shows of a candidate table: made-up values in the real writers' files."""

import json
import re

import numpy as np
import pytest

import nas_hw
from nas_cli.limits import build_limits
from nas_cli.report import load_run, predictive
from nas_cli.specialize import answer_limits, describe_answer, specialize
from nas_search import Progressive, kendall
from nas_spaces import History, InputError

COLUMNS = ("generation", "error", "macs", "params")
UNITS = ("1", "1", "multiply-adds", "parameters")


def step_events(phases, stage="train"):
    """Return what a training logs; its steps count through all phases."""
    rng = np.random.default_rng(5)
    steps = sum(length for _, length in phases)
    lines, step = [], 0
    for name, length in phases:
        for at in range(10, length + 1, 10):
            loss = 0.5 + 1.8 * np.exp(-3 * at / length) * (1 + 0.15 * rng.standard_normal())
            event = {"event": "step", "stage": stage, "phase": name, "step": step + at}
            event |= {"steps": steps, "epoch": (step + at) / 40, "loss": float(loss)}
            lines.append(json.dumps(event | {"lr": 0.05 * (1 - at / length), "time": 1.7e9}))
        step += length
    return "".join(line + "\n" for line in lines)


def error_of(space, rng, noise):
    """Return a made-up error that adds up over the choices, cheap options adding more, + noise."""
    macs = nas_hw.macs(space)
    costs = np.zeros((space.num_choices, max(space.num_options)))
    for choice, size in enumerate(space.num_options):
        rows = np.zeros((size, space.num_choices), dtype=np.int64)
        rows[:, choice] = np.arange(size)
        costs[choice, :size] = macs(rows)
    adds = 0.02 * (costs.max(axis=1, keepdims=True) - costs) / np.ptp(costs, axis=1).max()
    adds += 0.004 * rng.random(costs.shape)

    def error(archs):
        rows = np.asarray(archs)
        each = adds[np.arange(rows.shape[1]), rows].sum(axis=1)
        return 0.05 + each + noise * rng.standard_normal(len(rows))

    return error


def history_of(space, archs, generation, error):
    archs = np.asarray(archs)
    generations = np.broadcast_to(generation, len(archs))
    columns = [generations, error(archs), nas_hw.macs(space)(archs), nas_hw.params(space)(archs)]
    return History(COLUMNS, UNITS, archs, np.stack(columns, axis=1).astype(float))


def write_ponas(run, limit, *, noise=0.0005):
    """Fill a run with a sweep, its table and an answer within a limit; return it."""
    space, rng = run.space, np.random.default_rng(3)
    run.write("events.jsonl", step_events([("meta", 600), ("supernet", 900)]))
    record = {
        "steps": 1500,
        "path_counts": [[900 // k] * k for k in space.num_options],
        "seconds": 9.0,
        "device": "cpu",
        "phases": [{"name": "meta", "steps": 600}, {"name": "supernet", "steps": 900}],
        "inherited": {"copied": 210, "kept": 4},
    }
    run.write("train/summary.json", record)

    error = error_of(space, rng, noise)
    searcher = Progressive(space, cost=nas_hw.macs(space))
    rows, generation = [], 0
    while not searcher.done:
        rows.append(history_of(space, searcher.ask(), generation, error))
        searcher.tell(rows[-1].archs, rows[-1].column("error")[:, None])
        generation += 1
    history = rows[0]
    for more in rows[1:]:
        history = history.append(more.archs, more.values)
    table, feasible = searcher.table(), build_limits(space, [limit])
    found = answer_limits(table, feasible.limits, score="loss", exact=False)
    random = history_of(space, feasible.sample(150, rng=rng), np.arange(150) // 50, error)
    values = {"error": float(error([found.row])[0])}
    values |= {name: float(getattr(nas_hw, name)(space)([found.row])[0]) for name in COLUMNS[2:]}
    run.write(
        "searches/main/search.json", {"limits": [limit], "search": {"searcher": "progressive"}}
    )
    run.write("searches/main/history.csv", history.to_csv())
    run.write("searches/main/random.csv", random.to_csv())
    run.write("searches/main/table.json", table.to_json())
    result = {
        "name": "main",
        "limits": [str(one) for one in feasible.limits],
        "winner": found.row.tolist(),
        "values": values,
        "evaluated": len(history),
        "stopped": "complete",
        "random_best_error": random.column("error").min(),
        "space_size": space.size,
        "feasible": None,
        **describe_answer(table, feasible.limits, found),
    }
    run.write("searches/main/result.json", result)
    run.table, run.found, run.history, run.random = table, found, history, random
    return run


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(predictive, "RESAMPLES", 60)


@pytest.fixture
def ponas(make_run):
    limit = "macs<=60%"
    return write_ponas(make_run(method="ponas", limits=[limit]), limit)


def test_table_is_drawn_in_points_with_the_start_and_the_answer(ponas):
    figure = ponas.page().figure("Percentage points of error")
    [heat] = figure["data"]
    sizes = ponas.space.num_options
    for i, (row, size) in enumerate(zip(heat["z"], sizes, strict=True)):
        np.testing.assert_allclose(row[:size], 100 * ponas.table.losses[i, :size], atol=1e-4)
        # Options that the choice does not have stay blank.
        assert row[size:] == [None] * (max(sizes) - size)
        assert heat["text"][i][size:] == [""] * (max(sizes) - size)
        assert heat["text"][i].index("★") == ponas.table.start[i]
        assert heat["text"][i].count("★") == 1
        assert heat["customdata"][i][:size] == list(ponas.space.choices[i].options)
    framed = {round(shape["y0"] + 0.44): shape["x0"] + 0.46 for shape in figure["layout"]["shapes"]}
    changed = np.flatnonzero(ponas.found.row != ponas.table.start)
    assert len(changed)
    assert framed == {i: pytest.approx(ponas.found.row[i]) for i in changed.tolist()}


def test_path_leads_from_the_table_s_start_to_the_answer(ponas):
    page = ponas.page()
    [line] = page.figure("Predicted error against cost")["data"]
    macs, path = nas_hw.macs(ponas.space), ponas.found.path
    assert line["x"] == [macs([ponas.table.start])[0], *(step.costs[0] for step in path)]
    errors = ponas.table.base_error + np.cumsum([0, *(step.loss for step in path)])
    np.testing.assert_allclose(line["y"], 100 * errors)
    first = path[0]
    options = ponas.space.choices[first.choice].options
    name = ponas.space.choices[first.choice].name
    assert line["text"][1] == f"{name}: {options[first.before]} → {options[first.after]}"
    # The same as a table, choice by choice.
    assert page.text.count(f" {100 * first.loss:.2f} {first.costs[0]:,.0f} ") == 1
    assert f"{len(path)} replacement" in page.text


def test_table_that_predicts_is_said_to(ponas):
    page = ponas.page()
    assert "The table's assumption holds here for the order" in page.text
    points = page.trace("Supernet error against the error", "random architectures")
    np.testing.assert_allclose(points["x"], 100 * ponas.table.predict(ponas.random.archs))
    np.testing.assert_allclose(points["y"], 100 * ponas.random.column("error"))
    measured = ponas.random.column("error")
    tau = kendall(ponas.table.predict(ponas.random.archs), measured, rng=np.random.default_rng(0))
    assert f"the measured errors {tau.tau:.2f}, 95 % interval" in page.text
    off = np.abs(ponas.table.predict(ponas.random.archs) - measured).mean()
    assert f"are {100 * off:.2f} percentage points off" in page.text
    assert "better than counting their MACs" in page.text


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (lambda r, e: r.random(len(e)), "The table's assumption does not hold here"),
        (lambda r, e: e + 1.5 * np.std(e) * r.normal(size=len(e)), "holds only in part"),
        (lambda _, e: np.full(len(e), 0.5), "measured errors are the same for all"),
    ],
)
def test_table_that_does_not_predict_is_said_to(ponas, error, says):
    values = ponas.random.values.copy()
    sums = ponas.table.predict(ponas.random.archs)
    values[:, 1] = error(np.random.default_rng(1), sums)
    rows = History(ponas.random.names, ponas.random.units, ponas.random.archs, values)
    ponas.write("searches/main/random.csv", rows.to_csv())
    assert says in ponas.page().text


def test_no_diagonal_is_promised_where_all_points_are_one(ponas):
    values = ponas.random.values[:1].copy()
    values[0, 1] = ponas.table.predict(ponas.random.archs[:1])[0]
    rows = History(COLUMNS, UNITS, ponas.random.archs[:1], values)
    ponas.write("searches/main/random.csv", rows.to_csv())
    figure = ponas.page().figure("Supernet error against the error")
    assert [one["name"] for one in figure["data"]] == ["random architectures"]


def test_a_frame_is_explained_where_there_is_one(ponas):
    page = ponas.page()
    assert page.figure("Percentage points of error")["layout"]["shapes"]
    assert "a frame is what this search's winner has" in page.text
    result = json.loads((ponas.path / "searches/main/result.json").read_text())
    start = {"winner": ponas.table.start.tolist(), "path": []}
    ponas.write("searches/main/result.json", result | start)
    page = ponas.page()
    assert "shapes" not in page.figure("Percentage points of error")["layout"]
    assert "a frame is" not in page.text


def test_few_random_architectures_say_nothing_of_a_table(ponas):
    rows = History(COLUMNS, UNITS, ponas.random.archs[:5], ponas.random.values[:5])
    ponas.write("searches/main/random.csv", rows.to_csv())
    assert "cannot be said: 5 random architectures are too few" in ponas.page().text


def test_rows_outside_the_limit_are_told_apart_and_are_never_the_best(make_run):
    limit = "macs<=88%"
    run = write_ponas(make_run(method="ponas", limits=[limit]), limit)
    page = run.page()
    bound = build_limits(run.space, [limit]).limits[0].upper
    macs, error = run.history.column("macs"), run.history.column("error")
    inside = macs <= bound
    assert 0 < inside.sum() < len(inside)
    cloud = "Supernet error against MACs"
    outside = page.trace(cloud, "searched, outside the limit")["x"]
    np.testing.assert_array_equal(outside, macs[~inside])
    np.testing.assert_array_equal(page.trace(cloud, "searched")["x"], macs[inside])
    best = page.trace("Best and mean supernet error", "search: best so far")["y"]
    assert best[-1] == pytest.approx(100 * error[inside].min())
    assert best[-1] > 100 * error.min()
    assert f"{(~inside).sum()} of them are outside the limit" in page.text


def test_sweep_without_a_row_within_the_limit_has_no_best(ponas):
    page = ponas.page()
    names = [one["name"] for one in page.figure("Best and mean supernet error")["data"]]
    assert names == ["search: mean", "random: best so far", "random: mean"]
    assert "None of the search's architectures is within the limit" in page.text


def test_training_shows_its_phases_with_a_gap_between_them(ponas):
    page = ponas.page()
    figure = page.figure("Training loss and learning rate")
    logged = page.trace("Training loss and learning rate", "logged")
    assert logged["x"].count(None) == 1
    assert logged["x"][logged["x"].index(None) - 1] == 600
    names = [one["text"] for one in figure["layout"]["annotations"]]
    assert names == ["meta", "supernet"]
    assert figure["layout"]["shapes"][0]["x0"] == 605
    assert "Phases: meta 600 steps, supernet 900 steps." in page.text
    assert "Of the supernet's tensors 210 took over weights" in page.text


def test_search_answered_from_the_table_is_shown_without_evaluations(ponas):
    limits = ["params<=70%"]
    made = specialize(ponas.path, limits, name="small", source="main", score="loss", exact=False)
    page = ponas.page()
    assert "Nothing was evaluated: the answer" in page.text
    assert "comes from the candidate table of search main" in page.text
    # Error against MACs and progress are of the main search alone.
    assert sum(name.startswith("Best and mean") for name in page.figures) == 1
    text = page.text[page.text.index("All searches") :]
    predicted = f"{100 - 100 * made['predicted_error']:.1f} predicted"
    assert re.search(rf"small {re.escape(made['limits'][0])} [^a-z]* 0 {predicted}", text)
    assert load_run(ponas.path).searches[1].history is None
    labels = [f["layout"]["xaxis"]["title"].get("text") for f in page.figures.values()]
    assert "parameters" in labels


def test_an_exact_answer_says_whether_it_is_proven(ponas):
    limits = ["macs<=70%", "params<=60%"]
    specialize(ponas.path, limits, name="both", source="main", score="loss", exact=True)
    assert "which has the least sum of the table within the limits" in ponas.page().text
    path = ponas.path / "searches/both/result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"proven": False}))
    assert "the least sum of the table within the limits that was found" in ponas.page().text


def test_path_without_a_replacement_is_said(ponas):
    specialize(ponas.path, ["macs<=100%"], name="all", source="main", score="loss", exact=False)
    assert "nothing had to be replaced" in ponas.page().text


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("searches/main/table.json", {"start": [0]}, "columns"),
        ("searches/main/result.json", {"path": [{"choice": 99, "before": 0}]}, "path"),
        (
            "searches/main/result.json",
            {"path": [{"choice": 0, "before": 0, "after": 9, "loss": 0.1}]},
            "no such option",
        ),
    ],
)
def test_malformed_table_or_path_is_named(ponas, name, change, says):
    path = ponas.path / name
    ponas.write(name, json.loads(path.read_text()) | change)
    with pytest.raises(InputError, match=says) as caught:
        load_run(ponas.path)
    assert str(path) in str(caught.value)


def test_random_search_itself_has_no_baseline(ponas):
    folder = ponas.path / "searches" / "main"
    for name in ("random.csv", "table.json"):
        (folder / name).unlink()
    ponas.write("searches/main/search.json", {"limits": [], "search": {"searcher": "random"}})
    ponas.write("searches/main/history.csv", ponas.random.to_csv())
    result = json.loads((folder / "result.json").read_text())
    kept = ("name", "limits", "winner", "values", "evaluated", "space_size")
    record = {key: result[key] for key in kept}
    ponas.write("searches/main/result.json", record | {"random_best_error": None})
    page = ponas.page()
    assert "This is random search itself." in page.text
    assert "The best of the random search" not in page.text
    names = [one["name"] for one in page.figure("Best and mean")["data"]]
    assert names == ["search: best so far", "search: mean"]


def test_one_search_has_no_overview(ponas):
    assert "All searches" not in ponas.page().text
