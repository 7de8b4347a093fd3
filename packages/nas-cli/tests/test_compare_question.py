import json
from pathlib import Path

import attrs
import pytest

from nas_cli.compare_methods import METHODS, Methods
from nas_cli.compare_question import SETTINGS, ask_compare, question_of, stored_question
from nas_spaces import InputError

NEEDED = {"space": "nas-bench-201", "truth": Path("t.csv")}


def test_what_is_asked_where_nothing_is_said():
    asked = question_of(NEEDED)
    assert asked.truth == str(Path("t.csv").resolve())
    assert (asked.methods, asked.settings) == (METHODS, Methods())
    assert (asked.budget, asked.seeds, asked.mark, asked.seed) == (300, 50, 99.9, 0)
    assert (asked.images, asked.epochs, asked.limits) == (50_000, 200, ())
    # What click gives for options that are left out.
    assert question_of({**NEEDED, "column": None, "limits": (), "settings": ()}) == asked


def test_what_options_ask_for():
    options = {
        "methods": "ppo, random",
        "settings": ("ppo.policy.lr=0.5",),
        "limits": ("macs<=50%",),
    }
    asked = question_of({**NEEDED, **options, "mark": 100.0})
    assert asked.methods == ("ppo", "random")
    assert asked.settings.ppo.policy.lr == 0.5
    assert (asked.limits, asked.mark) == (("macs<=50%",), 100)
    asked = question_of({**NEEDED, "cost_column": "seconds"})
    assert (asked.cost_column, asked.images, asked.epochs) == ("seconds", None, None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"space": None}, "needs --space: what `nas spaces` lists"),
        ({"truth": None}, "needs --truth: a table of accuracies"),
        ({"methods": "random,evolutoin"}, "did you mean 'evolution'"),
        ({"methods": " , "}, "--methods names none"),
        ({"seeds": 1}, "--seeds 1: .* at least 2"),
        ({"seeds": 0}, "--seeds 0: "),
        ({"budget": 0}, "--budget 0: it must be at least 1"),
        ({"budget": -5}, "--budget -5: "),
        ({"images": 0}, "--images 0: "),
        ({"epochs": 0}, "--epochs 0: "),
        ({"mark": 0.0}, "--mark 0: "),
        ({"mark": 100.5}, r"--mark 100\.5: .* at most 100"),
        ({"mark": float("nan")}, "--mark nan: "),
        ({"seed": -1}, "--seed -1: "),
        ({"limits": ("macs<3M",)}, "sign '<' is unknown"),
        ({"settings": ("ppo.lr",)}, "cannot be read"),
        (
            {"settings": ("ppo.policy.lr=fast",)},
            r"ppo\.policy\.lr must be a number; received 'fast'",
        ),
        ({"methods": "ppo", "settings": ("random.batch=1",)}, "random is not among --methods ppo"),
        ({"cost_column": "s", "epochs": 3}, "--epochs is of multiply-adds"),
    ],
)
def test_what_cannot_be_asked(options, says):
    with pytest.raises(InputError, match=says):
        question_of({**NEEDED, **options})


def keep(folder, question):
    folder.mkdir(exist_ok=True)
    record = {"question": attrs.asdict(question), "digest": "x"}
    (folder / SETTINGS).write_text(json.dumps(record))


def test_a_comparison_that_is_there_says_the_rest(tmp_path):
    asked = question_of({**NEEDED, "budget": 77, "settings": ("fnas.critic=none",)})
    assert asked.settings.fnas.critic is None
    keep(tmp_path, asked)
    assert stored_question(tmp_path) == asked
    assert ask_compare(tmp_path, {}, resume=True) == asked
    again = {**NEEDED, "budget": 77, "methods": ",".join(METHODS)}
    again["settings"] = ("fnas.critic=none", "ppo.policy.batch=10")
    assert ask_compare(tmp_path, again, resume=True) == asked
    with pytest.raises(InputError, match="holds another comparison; go on with it by --resume"):
        ask_compare(tmp_path, again, resume=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"budget": 78}, "--budget is 77, received 78"),
        (
            {"settings": ("ppo.policy.lr=1",)},
            r"--set ppo\.policy\.lr is 0\.001, received 1\.0; leave them out",
        ),
        ({"settings": ("fnas.critic=none",)}, r"--set fnas\.critic\.hidden is 200, received none"),
        ({"methods": "ppo,random"}, "--methods is random,evolution.*, received ppo,random; leave"),
        ({"limits": ("macs<=3M",)}, "--limits is"),
        ({"cost_column": "s"}, "--cost-column is None, received s"),
    ],
)
def test_other_settings_than_it_was_begun_with(tmp_path, options, says):
    keep(tmp_path, question_of({**NEEDED, "budget": 77}))
    with pytest.raises(InputError, match=says):
        ask_compare(tmp_path, options, resume=True)


def test_folders(tmp_path):
    with pytest.raises(InputError, match="--resume needs --out"):
        ask_compare(None, NEEDED, resume=True)
    new = tmp_path / "new"
    assert ask_compare(new, NEEDED, resume=True) == question_of(NEEDED)
    assert not new.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        ask_compare(tmp_path / "file", NEEDED, resume=False)
    with pytest.raises(InputError, match="is not empty and holds no comparison"):
        ask_compare(tmp_path, NEEDED, resume=False)
    new.mkdir()
    (new / SETTINGS).write_text('{"question": {"space": "x"}}')
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        ask_compare(new, {}, resume=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda asked: asked.pop("seeds"), "seeds"),
        (lambda asked: asked.update(budget="many"), "budget must be a whole number"),
        (lambda asked: asked.update(methods=["pop"]), "'pop' is unknown"),
        (lambda asked: asked["settings"]["ppo"].update(lr=1), r"'settings\.ppo\.lr' is unknown"),
        (
            lambda asked: asked["settings"]["fnas"]["buffer"].update(share=2),
            r"settings\.fnas\.buffer\.share must be < 1",
        ),
    ],
)
def test_stored_questions_that_are_damaged(tmp_path, change, says):
    keep(tmp_path, question_of(NEEDED))
    record = json.loads((tmp_path / SETTINGS).read_text())
    change(record["question"])
    (tmp_path / SETTINGS).write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"settings\.json is damaged \(.*{says}"):
        stored_question(tmp_path)
    (tmp_path / SETTINGS).write_text('{"question": 3}')
    with pytest.raises(InputError, match=r"settings\.json is damaged .* received 3"):
        stored_question(tmp_path)
