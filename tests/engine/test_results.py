import json
import statistics

import pytest

from structkd.engine.results import collect, summary

CONFIG = {
    "title": "T",
    "stages": {
        "teacher": {"role": "teacher", "model": {"type": "GCN"}, "title": "GCN, deep"},
        "plain": {"role": "plain", "model": {"type": "MLP"}},
        "kd": {
            "model": {"type": "MLP"},
            "method": "GLNN",
            "teachers": {"t": {"stage": "teacher"}},
            "distillers": {"glnn": {"type": "GLNN"}},
        },
    },
}
#: Test accuracy of every stage for seeds 4 and 2, in this order.
ACCURACY = {"teacher": (0.9, 0.8), "plain": (0.5, 0.6), "kd": (0.8, 0.7), "wide": (0.1, 0.2)}


def result(seed, **metrics):
    selected = {"metric": "val/accuracy", "score": 0.5, "epoch": 3}
    return {
        "metrics": metrics, "parameters": 10, "latency_ms": {"1": {"compute": 0.5}}, "epochs": seed, "seconds": 1.5,
        "selected": selected,
    }  # fmt: skip


def runs():
    return {
        seed: {stage: result(seed, **{"test/accuracy": values[place]}) for stage, values in ACCURACY.items()}
        for place, seed in enumerate((4, 2))
    }


def document(config=CONFIG):
    return collect(config, runs(), "tiny", "random, transductive", "test/accuracy")


def test_spread_is_the_population_standard_deviation():
    assert summary([1.0, 2.0, 6.0]) == {"values": [1.0, 2.0, 6.0], "mean": 3.0, "std": pytest.approx((14 / 3) ** 0.5)}
    assert summary([2.0]) == {"values": [2.0], "mean": 2.0, "std": 0.0}


def test_values_are_in_the_order_of_the_seeds():
    results = document()
    assert results["seeds"] == [2, 4]
    kd = results["stages"]["kd"]
    assert kd["metrics"]["test/accuracy"] == {"values": [0.7, 0.8], "mean": 0.75, "std": pytest.approx(0.05)}
    assert kd["epochs"] == [2, 4]
    assert [s["epoch"] for s in kd["selected"]] == [3, 3]


def test_differences_are_taken_seed_by_seed():
    paired = document()["paired"]
    assert set(paired) == {"kd"}
    against_plain = paired["kd"]["plain"]["test/accuracy"]
    assert against_plain["values"] == pytest.approx([0.1, 0.3])
    assert against_plain["mean"] == pytest.approx(0.2)
    # 0.1, which is not what the spreads of the two stages would give.
    assert against_plain["std"] == pytest.approx(statistics.pstdev([0.1, 0.3]))
    assert paired["kd"]["teacher"]["test/accuracy"]["values"] == pytest.approx([-0.1, -0.1])


def test_baseline_is_the_first_plain_stage_or_the_named_one():
    stages = {**CONFIG["stages"], "wide": {"role": "plain", "model": {"type": "MLP"}}}
    first = document({**CONFIG, "stages": stages})
    stages["kd"] = {**stages["kd"], "baseline": "wide"}
    named = document({**CONFIG, "stages": stages})
    assert first["paired"]["kd"]["plain"]["test/accuracy"]["values"] == pytest.approx([0.1, 0.3])
    assert named["paired"]["kd"]["plain"]["test/accuracy"]["values"] == pytest.approx([0.5, 0.7])


def test_without_a_plain_stage_or_a_teacher_there_is_nothing_to_compare():
    stages = {name: CONFIG["stages"][name] for name in ("teacher", "kd")}
    assert set(document({**CONFIG, "stages": stages})["paired"]["kd"]) == {"teacher"}
    stages = {
        "plain": CONFIG["stages"]["plain"],
        "kd": {**CONFIG["stages"]["kd"], "teachers": {"t": {"file": "a.npy"}}},
    }
    alone = document({**CONFIG, "stages": stages})
    assert set(alone["paired"]["kd"]) == {"plain"}
    assert alone["stages"]["kd"]["teacher"] is None


def test_only_metrics_that_every_seed_and_both_stages_have():
    several = runs()
    for seed, stage in ((4, "kd"), (2, "kd"), (4, "teacher")):
        several[seed][stage]["metrics"]["ind/accuracy"] = 0.5
    results = collect(CONFIG, several, "tiny", "", "test/accuracy")
    assert set(results["stages"]["teacher"]["metrics"]) == {"test/accuracy"}
    assert set(results["stages"]["kd"]["metrics"]) == {"ind/accuracy", "test/accuracy"}
    assert set(results["paired"]["kd"]["teacher"]) == {"test/accuracy"}


def test_says_what_ran_and_how_it_was_chosen():
    results = document()
    assert json.loads(json.dumps(results)) == results
    assert results["config"] == CONFIG
    assert results["selection"] == "epoch with the best val/accuracy; test data play no part in it"
    assert (results["name"], results["protocol"]) == ("tiny", "random, transductive")
    assert {"structkd", "python", "torch", "torch_geometric", "mmengine"} <= set(results["versions"])
    stages = results["stages"]
    assert [stage["role"] for stage in stages.values()] == ["teacher", "plain", "distilled"]
    assert [stage["title"] for stage in stages.values()] == ["GCN, deep", "plain", "kd"]
    assert (stages["kd"]["model"], stages["kd"]["method"], stages["kd"]["teacher"]) == ("MLP", "GLNN", "teacher")
