import json
import math

import pytest

import nas_cli.training
import nas_hw
from nas_cli.phases import largest_network
from nas_cli.spaces import load_space
from nas_samplers import (
    AddedCost,
    BelowMean,
    BelowShare,
    EntropyRows,
    MultipliedCost,
    posterior_rows,
)
from nas_samplers.checkpoint import read_checkpoint
from nas_search import largest
from nas_spaces import Block, Choice, SearchSpace, published, to_json
from nas_spaces.layers import Classifier, Conv, MBConv

# Methods that mix the candidates of a block.
GATED = ("oneshot", "betanas", "proxyless", "gumbel", "darts")


def sets(*texts):
    return [part for text in texts for part in ("--set", text)]


@pytest.fixture
def phases(nas, tiny, tmp_path, monkeypatch):
    """Return the phases of a run, which is stopped before its training."""

    def build(*options):
        seen = []

        def stop(network, phases, *args, **kwargs):
            seen.extend(phases)
            raise KeyError("stopped")

        with monkeypatch.context() as patch, pytest.raises(KeyError, match="stopped"):
            patch.setattr(nas_cli.training, "train", stop)
            nas("train", "--out", tmp_path / str(len(list(tmp_path.iterdir()))), *options)
        return seen

    return build


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["supernet.paths=3"], "supernet.paths=3 is for supernet.sampler=expectation-fair"),
        (["supernet.path_dropout=2"], "supernet.path_dropout must be <= 1; received 2.0"),
        (["supernet.sampler=mixture", "alphas.drop=margin"], "it is mixture; take one of those"),
        (["supernet.sampler=balanced", "alphas.cost=latency"], "alphas.cost='latency' is unknown"),
        (
            ["supernet.sampler=balanced", "alphas.cost=bitops", "alphas.cost_weight=0.1"],
            "alphas.cost=bitops: every architecture of space 'digits-mobile' has 0",
        ),
        (
            ["supernet.sampler=balanced", "alphas.every=1000"],
            "alphas: none of the updates, every 1000 steps, is between the warm-up's end",
        ),
        (
            ["supernet.sampler=weighted", "alphas.cost=peak_memory", "alphas.cost_weight=0.1"],
            "is a maximum over the blocks",
        ),
        (
            ["supernet.sampler=balanced", "alphas.drop=share", "alphas.drop_below=2"],
            "alphas.drop_below=2.0 with alphas.drop=share must be below 1",
        ),
        (["meta.epochs=3"], "meta.batch_size required field missing"),
        (
            ["distribution.rows=1"],
            "distribution.rows=1: centred weights compare at least 2 rows of a step; raise it",
        ),
        (["distribution.least=1"], "distribution.least=1: centred weights"),
        (
            ["distribution.most=3", "distribution.least=4"],
            "distribution.most=3 is below distribution.least=4",
        ),
        (["distribution.temperature=0"], "distribution.temperature must be > 0"),
        (["distribution.rows_per_nat=-1"], "distribution.rows_per_nat must be > 0"),
        (["distribution.join_after=1"], "distribution.join_after must be < 1"),
        (
            ["distribution.join_after=0.5", "distribution.joint=true"],
            "distribution.join_after=0.5, but by distribution.joint=true groups are joint",
        ),
        (["distribution.cost=time"], "distribution.cost='time' is unknown"),
        (["distribution.target=cheap"], "distribution.target='cheap' cannot be read"),
        (
            ["distribution.target=1K"],
            "distribution.target=1K is 1,000 multiply-adds; architectures of space 'digits-mobile' "
            "have 159,264 to 1,212,288: none keeps to less",
        ),
        (["distribution.target=0%"], "distribution.target=0% is 0 multiply-adds; architectures of"),
        (["distribution.target=100%"], "distribution.target=100% is 1,212,288 multiply-adds; arch"),
        (["distribution.target=500%"], "all do to as much as the largest; aim between the two"),
        (
            ["distribution.cost=params"],
            "distribution.cost=params is without effect: distribution.target is none, and no limit "
            "on params allows a largest value; give one, like --set distribution.target=60%, or "
            "--set distribution.cost=macs",
        ),
        (
            ["distribution.cost=bitops", "distribution.target=60%"],
            "distribution.cost=bitops: every architecture of space 'digits-mobile' has 0",
        ),
        (
            ["distribution.rows_per_nat=1e308"],
            "distribution.rows_per_nat=1e+308 of 12.2 nats asks for more than 10,000 rows in a "
            "step; lower it, or bound them by distribution.most",
        ),
        (
            ["distribution.warmup=0.6", "distribution.join_after=0.1"],
            "distribution.join_after=0.1 switches at step 1 of 15, and the first update behind "
            "distribution.warmup=0.6 is at step 10: nothing would be learned of single choices; "
            "switch later, train for more steps, or begin joint by --set distribution.joint=true "
            "--set distribution.join_after=none",
        ),
        (["distribution.join_after=0"], "distribution.join_after=0.0 switches at step 0 of 15"),
        # The boundary: update 6 is the first behind the warm-up.
        (
            ["distribution.every=3", "distribution.warmup=0.34", "distribution.join_after=0.4"],
            "distribution.join_after=0.4 switches at step 6 of 15",
        ),
        (["images.classes=1"], "images.classes must be >= 2"),
        (["images.classes=11"], "images.classes is 11; digits has 10: give 2 to 10"),
        (
            ["distribution.warmup=0.5", "distribution.every=40"],
            "distribution: none of the updates, every 40 steps, is between the warm-up's end",
        ),
        (
            ["distribution.every=8", "distribution.join_after=0.9"],
            "distribution.join_after=0.9 is behind the last update, at step 8 of 15",
        ),
    ],
)
def test_what_does_not_fit_is_refused(nas, tiny, tmp_path, settings, says):
    if any(text.startswith("distribution") for text in settings):
        settings = ["supernet.sampler=distribution", *settings]
    result = nas("train", "--out", tmp_path / "run", *tiny(), *sets(*settings))
    assert result.exit_code == 2
    assert says in result.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", [*GATED, "spos"])
def test_gates_on_blocks_that_read_several_choices(nas, tiny, tmp_path, method):
    kernels, ratios = (3, 5), (1, 2)
    space = SearchSpace(
        "several",
        (1, 8, 8),
        [Choice("kernel", kernels), Choice("ratio", ratios)],
        [
            Block("stem", [Conv(8, 3)]),
            Block("both", [MBConv(8, k, expand=e) for k in kernels for e in ratios],
                  reads=["kernel", "ratio"]),
            Block("head", [Classifier(10)]),
        ],
    )  # fmt: skip
    (tmp_path / "several.json").write_text(to_json(space))
    options = ["--method", method, "--space", tmp_path / "several.json", *tiny(train__epochs=1)]
    result = nas("train", "--out", tmp_path / "run", *options)
    if method == "spos":  # the cure
        assert result.exit_code == 0, result.output
        return
    assert result.exit_code == 2
    assert (
        "gates cannot mix block 'both' of space 'several': it depends on 2 choices, 'kernel', "
        "'ratio'; use a method without gates, which trains whole paths, or a space whose blocks "
        "read one choice each"
    ) in result.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_distribution_is_drawn_from_and_learned_as_it_is_set(phases, tiny):
    drawn = sets("supernet.sampler=distribution", "supernet.reduction=posterior")
    limits = ["--limit", "params<=60k", "--limit", "macs<=400k"]
    [phase] = phases(*tiny(), *drawn, *limits)
    assert (phase.sampler.rows, phase.sampler.warmup) == (EntropyRows(0.25, least=2), 0)
    assert (phase.learn_from, phase.learn_every) == (0, 1)
    assert phase.learner.cost.target == 400e3
    assert (phase.learner.cost.kind, phase.learner.cost.weight) == ("log", 0.3)
    assert phase.weigh == posterior_rows(1.0)
    more = ("rows=5", "warmup=0.5", "warmup_rows=1", "every=3", "temperature=0.2", "joint=true",
            "cost_term=linear", "cost=params", "target=50%", "paper_exact=true")  # fmt: skip
    [phase] = phases(*tiny(), *drawn, *limits, *sets(*(f"distribution.{one}" for one in more)))
    half = int(0.5 * phase.steps)
    assert (phase.learn_from, phase.learn_every, phase.sampler.warmup) == (half, 3, half)
    assert (phase.sampler.rows, phase.sampler.warmup_rows) == (5, 1)
    assert phase.sampler.distribution.joint and phase.learner.paper_exact
    assert phase.weigh == posterior_rows(0.2)
    cost = phase.learner.cost
    largest_of_all = nas_hw.params(phase.sampler.distribution.space)
    row = largest(largest_of_all.space, largest_of_all)
    assert (cost.metric.name, cost.kind) == ("params", "linear")
    assert cost.target == int(largest_of_all(row[None])[0] / 2)
    [phase] = phases(*tiny(), *drawn, *limits, *sets("distribution.cost_weight=0"))
    assert phase.learner.cost is None
    unused = sets("distribution.cost_weight=0", "distribution.cost=bitops")
    [phase] = phases(*tiny(), *drawn, *limits, *unused)
    assert phase.learner.cost is None
    [phase] = phases(*tiny(), *drawn, *limits, *sets("distribution.cost=params"))
    assert (phase.learner.cost.name, phase.learner.cost.target) == ("params", 60e3)
    [phase] = phases(*tiny(), *drawn, *sets("limits=[]"))
    assert phase.learner.cost is None


def test_groups_are_joined_behind_the_first_update(phases, tiny):
    # 9 steps, the first of them warm-up: the second has an update.
    settings = sets("distribution.warmup=0.2", "distribution.join_after=0.34")
    [phase] = phases("--method", "fpnas", *tiny(), *settings)
    assert (phase.learn_from, phase.learner.joint_from, phase.steps) == (1, 3, 9)


def test_what_has_begun_is_not_refused(nas, tiny, tmp_path, edit_config):
    """As a run that an earlier version began, which did not refuse it."""
    run = tmp_path / "run"
    chosen = sets("supernet.sampler=distribution", "limits=[]")
    assert nas("train", "--out", run, *tiny(train__epochs=1), *chosen).exit_code == 0
    *_, distribution = (run / "config.toml").read_text().partition("[distribution]")
    edit_config(run, distribution, distribution.replace('cost = "macs"', 'cost = "params"', 1))
    (run / "train/summary.json").unlink()
    result = nas("train", "--out", run, "--resume")
    assert result.exit_code == 0, result.output
    # What is said of the first step is not said again.
    assert "paths:" not in result.stderr
    (run / "train/summary.json").unlink()
    (run / "train/checkpoint.safetensors").unlink()
    result = nas("train", "--out", run, "--resume")
    assert "distribution.cost=params is without effect" in result.stderr


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ([], 2),
        (["paper_exact=true"], 1),
        (["paper_exact=true", "least=3"], 3),
        (["paper_exact=true", "least=2"], 2),
    ],
)
def test_as_printed_one_row_is_enough(phases, tiny, settings, least):
    chosen = sets("supernet.sampler=distribution", *(f"distribution.{one}" for one in settings))
    [phase] = phases(*tiny(), *chosen)
    assert phase.sampler.rows == EntropyRows(0.25, least=least)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["rows_per_nat=0.5"], "paths:    6 in the first step (0.5 a nat of 12.2)"),
        (["rows_per_nat=1e308", "most=5"], "paths:    5 in the first step (1e+308 a nat of 12.2)"),
        (["rows=5"], "paths:    5 a step"),
        (
            ["warmup=0.5", "warmup_rows=1"],
            "paths:    1 a step of the warm-up, then 3 in the first step behind it (0.25 a nat of "
            "12.2)",
        ),
    ],
)
def test_the_paths_of_a_step_are_said_first(nas, tiny, tmp_path, settings, says):
    # Behind it comes what is refused, so that nothing is trained.
    chosen = sets("supernet.sampler=distribution", 'references=["3w3a"]')
    chosen += sets(*(f"distribution.{one}" for one in settings))
    result = nas("train", "--out", tmp_path / "run", *tiny(), *chosen)
    assert result.exit_code == 2
    assert says in result.stderr.splitlines()


def test_the_cost_counts_in_units_of_the_limit(phases, tiny):
    balanced = sets("supernet.sampler=balanced", "alphas.cost_weight=0.3")
    limits = ["--limit", "params<=60k", "--limit", "macs<=400k"]
    [phase] = phases(*tiny(), *balanced, *limits)
    assert phase.learner.cost == AddedCost(reference=400e3, weight=0.3)
    [phase] = phases(*tiny(), *balanced, *limits, *sets("alphas.cost=params"))
    assert phase.learner.cost == AddedCost(reference=60e3, weight=0.3)
    assert phase.learner.alphas.cost.name == "params"
    # Without a limit from above, what lies in the middle.
    [phase] = phases(*tiny(), *balanced, "--limit", "macs>=300k", *sets("alphas.cost_term=product"))
    assert phase.learner.cost.reference == (159_264 + 1_212_288) / 2
    assert isinstance(phase.learner.cost, MultipliedCost)
    [phase] = phases(*tiny(), *sets("supernet.sampler=balanced", "alphas.cost=peak_memory"))
    assert phase.learner.cost is None


def test_settings_of_the_parameters_reach_the_learner(phases, tiny):
    common = sets("alphas.warmup=0.4", "alphas.every=3", "alphas.drop_warmup=0.5", "alphas.std=0.1")
    [phase] = phases(
        *tiny(), *common,
        *sets("supernet.sampler=weighted", "alphas.variant=two-path", "alphas.drop=margin",
              "alphas.drop_below=0.7", "alphas.lr=0.25", "alphas.beta1=0.5", "alphas.beta2=0.9",
              "alphas.weight_decay=0.125"),
    )  # fmt: skip
    # 15 steps; updates after steps 9, 12 and 15.
    assert (phase.steps, phase.learn_from, phase.learn_every) == (15, 6, 3)
    learner = phase.learner
    assert (learner.variant, learner.warmup, learner.drop.rule) == ("two-path", 2, BelowMean(0.7))
    adam = learner.adam
    assert (adam.lr, adam.betas, adam.weight_decay) == (0.25, (0.5, 0.9), 0.125)
    assert learner.alphas is phase.sampler.alphas
    assert 0.02 < learner.alphas.values[learner.alphas.alive].std() < 0.3
    share = sets("supernet.sampler=balanced", "alphas.drop=share", "alphas.drop_below=0.3")
    [phase] = phases(*tiny(), *share)
    assert phase.learner.drop.rule == BelowShare(0.3)
    [limit] = phase.learner.drop.feasible.limits
    assert limit.upper == 1_212_288 / 2
    gumbel = sets("supernet.sampler=gumbel", "alphas.temperature=3", "alphas.temperature_decay=0.5")
    [phase] = phases(*tiny(), *gumbel)
    # 240 images in batches of 64: 4 steps an epoch.
    assert phase.sampler.temperature(8) == pytest.approx(3 * math.exp(-0.5 * 2))
    assert phase.join is not None
    [phase] = phases(*tiny(), *sets("supernet.sampler=path-dropout", "supernet.path_dropout=0.5"))
    assert (phase.sampler.rate, phase.sampler.ramp) == (0.5, 15)


def test_the_largest_network_comes_first(nas, tiny, tmp_path):
    out = tmp_path / "run"
    options = ["--method", "ponas", *tiny(train__epochs=6), *sets("meta.epochs=6")]
    result = nas("train", "--out", out, *options)
    assert "supernet, largest network first: 44 steps" in result.stderr
    assert "432 tensors inherit from the largest network" in result.stderr
    summary = json.loads((out / "train/summary.json").read_text())
    assert summary["phases"] == [
        {"name": "largest network", "steps": 22},
        {"name": "supernet", "steps": 22},
    ]
    assert summary["inherited"] == {"copied": 432, "kept": 0}
    space = published.load("digits-mobile")
    row = largest(space, nas_hw.macs(space))
    for counts, option in zip(summary["path_counts"], row, strict=True):
        assert counts[option] >= 22
    assert [sum(counts) for counts in summary["path_counts"]] == [44] * 8
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    # Steps and epochs count on.
    assert [event["step"] for event in steps] == sorted(event["step"] for event in steps)
    assert [event["phase"] for event in steps if event["step"] in (22, 44)] == [
        "largest network",
        "supernet",
    ]
    assert {event["steps"] for event in steps} == {44}
    assert steps[-1]["epoch"] == pytest.approx(44 * 64 / 240, abs=0.01)


@pytest.mark.parametrize(
    ("method", "settings", "kills", "written"),
    [
        # Checkpoints are written after 4 steps, and after each phase.
        ("ponas", ["meta.epochs=1.5"], [2, 2, 3], "inherited.json"),
        ("betanas", ["alphas.lr=0.5", "alphas.every=2"], [2, 2], "alphas.json"),
    ],
)
def test_killed_and_gone_on(forked, tiny, tmp_path, method, settings, kills, written):
    options = ["--method", method, *tiny(train__epochs=3), *sets(*settings)]
    status, _ = forked("train", "--out", tmp_path / "whole", *options)
    assert status == 0
    for kill in kills:
        moment = {"replace": kill, "file": "checkpoint.safetensors"}
        status, _ = forked("train", "--out", tmp_path / "run", "--resume", *options, kill=moment)
        assert status == -9
    status, said = forked("train", "--out", tmp_path / "run", "--resume", *options)
    assert status == 0, said
    same_bytes(tmp_path, written)


def same_bytes(folder, written):
    for name in ("checkpoint.safetensors", written):
        whole, killed = (folder / run / "train" / name for run in ("whole", "run"))
        assert whole.read_bytes() == killed.read_bytes()


def test_killed_on_both_sides_of_the_switch_to_joint(forked, tiny, tmp_path):
    run, checkpoint = tmp_path / "run", tmp_path / "run/train/checkpoint.safetensors"
    # 9 steps of 64 of 150 images; warm until the first, joint from the fifth on.
    options = ["--method", "fpnas", *tiny(train__epochs=3.84, train__checkpoint_every=2),
               *sets("distribution.warmup=0.2", "distribution.join_after=0.56")]  # fmt: skip
    status, _ = forked("train", "--out", tmp_path / "whole", *options)
    assert status == 0
    whole = json.loads((tmp_path / "whole/train/distribution.json").read_text())
    assert (whole["steps"][-1], whole["steps"][whole["joint"].index(True)]) == (9, 5)
    # Killed before checkpoints are written: at step 6 the one of step 4 is there, at 8 that of 6.
    for kill, step, joint in ((3, 4, False), (2, 6, True)):
        moment = {"replace": kill, "file": "checkpoint.safetensors"}
        status, _ = forked("train", "--out", run, "--resume", *options, kill=moment)
        assert status == -9
        state = read_checkpoint(checkpoint).state
        [learner] = state["learners"]
        assert (state["step"], learner["distribution"]["joint"]) == (step, joint)
    status, said = forked("train", "--out", run, "--resume", *options)
    assert status == 0, said
    same_bytes(tmp_path, "distribution.json")


def test_the_largest_network_has_most_bits_too():
    space = load_space("digits-resnet@0,0,0,0,0,0+bits=1w2a,4w4a,2w2a")
    assert largest_network(space, nas_hw.macs(space)).tolist() == [1] * 6
