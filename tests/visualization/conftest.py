"""A finished experiment with figures that are easy to check by hand."""

import json
import statistics

import pytest

SCORES = {"teacher": [0.90, 0.92], "mlp": [0.60, 0.64], "glnn": [0.85, 0.88], "vq": [0.61, 0.62]}


def summary(values):
    return {"values": values, "mean": statistics.fmean(values), "std": statistics.pstdev(values)}


def stage(name, title, role, model, method=None, **more):
    return {
        "title": title,
        "role": role,
        "model": model,
        "method": method,
        "teacher": "teacher" if role == "distilled" else None,
        "metrics": {"test/accuracy": summary(SCORES[name]), "val/accuracy": summary([0.111, 0.111])},
        "parameters": 1234,
        "latency_ms": {"128": {"fetch": 1.5 if role == "teacher" else 0.0, "compute": 0.25}},
        "epochs": [3, 2],
        "seconds": [1.0, 2.0],
    } | more


def minus(name, other):
    return {"test/accuracy": summary([a - b for a, b in zip(SCORES[name], SCORES[other])])}


@pytest.fixture
def results():
    return {
        "name": "Digits <GNN to MLP>",
        "created": "2026-01-02T03:04:05+00:00",
        "config": {"stages": {"glnn": {"lr": 0.0125, "note": "<script>"}}},
        "versions": {"structkd": "0.1.0", "torch": "2.13.0"},
        "device": "CPU, 1 threads",
        "seeds": [0, 1],
        "protocol": "random, transductive",
        "selection": "epoch with the best val/accuracy",
        "primary_metric": "test/accuracy",
        "stages": {
            "teacher": stage("teacher", "GraphSAGE", "teacher", "GraphSAGE"),
            "mlp": stage("mlp", "MLP", "plain", "MLP"),
            "glnn": stage("glnn", "GLNN", "distilled", "MLP", "GLNN"),
            "vq": stage("vq", "Tokens", "distilled", "MLP", "VQGraph"),
        },
        "paired": {
            name: {"plain": minus(name, "mlp"), "teacher": minus(name, "teacher")} for name in ("glnn", "vq")
        },
    }  # fmt: skip


@pytest.fixture
def work_dir(tmp_path, results):
    folder = tmp_path / "digits"
    for seed in results["seeds"]:
        for name in results["stages"]:
            place = folder / f"seed_{seed}" / name
            place.mkdir(parents=True)
            lines = [{"epoch": e, "train/loss": 1 / e, "val/accuracy": 0.2 * e} for e in (1, 2, 3 - seed)]
            (place / "scalars.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "results.json").write_text(json.dumps(results))
    return folder
