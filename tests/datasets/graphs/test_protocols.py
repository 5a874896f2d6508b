import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import Split, cpf_graph, fingerprint, make_split, planetoid_graph
from structkd.errors import ConfigError, DataError


def data(classes=4, per_class=100, unknown=0):
    y = torch.arange(classes).repeat(per_class)
    return Data(y=torch.cat([y, torch.full((unknown,), -1)]))


def test_fingerprint_is_over_little_endian_int64():
    import hashlib

    ids = torch.tensor([1, 256, 3])
    written = b"".join(int(i).to_bytes(8, "little") for i in ids)
    assert fingerprint(ids) == hashlib.sha256(written).hexdigest()[:12]
    assert fingerprint(ids) != fingerprint(ids.flip(0))


def test_cpf_fingerprints_on_cora(real_data):
    graph = cpf_graph(real_data / "graphs", "cora")
    split = make_split("cpf", graph, 0)
    assert [ids.numel() for ids in vars(split).values()] == [140, 210, 2135, 0]
    prints = split.fingerprints()
    assert [prints[part] for part in ("train", "val", "test")] == ["936d7398e0bb", "44556660fa06", "14f613db7407"]
    inductive = make_split("cpf", graph, 0, inductive=True)
    assert (inductive.test.numel(), inductive.ind.numel()) == (1708, 427)
    assert (inductive.fingerprints()["train"], inductive.fingerprints()["ind"]) == ("936d7398e0bb", "e70f030e196a")


@pytest.mark.parametrize(("name", "train"), [("Cora", 140), ("CiteSeer", 120)])
def test_public_masks(real_data, name, train):
    graph = planetoid_graph(real_data / "graphs", name)
    split = make_split("public", graph, 7)
    assert [ids.numel() for ids in vars(split).values()] == [train, 500, 1000, 0]
    assert torch.equal(split.train, torch.arange(train))


def test_cpf_draws_train_then_val_class_by_class():
    graph = data(unknown=5)
    split = make_split("cpf", graph, 3, train_per_class=2, val_per_class=3)
    random = np.random.RandomState(3)
    train = [random.permutation(np.arange(c, 400, 4))[:2] for c in range(4)]
    assert split.train.tolist() == np.concatenate(train).tolist()
    assert torch.bincount(graph.y[split.val]).tolist() == [3] * 4
    everything = torch.cat([split.train, split.val, split.test]).sort().values
    assert torch.equal(everything, torch.arange(400))  # all labelled nodes and no other


def test_planetoid_random():
    split = make_split("planetoid_random", data(unknown=50), 1, train_per_class=5, num_val=30, num_test=40)
    assert [ids.numel() for ids in vars(split).values()] == [20, 30, 40, 0]
    rest = make_split("planetoid_random", data(), 1, train_per_class=5, num_val=30, num_test=None)
    assert rest.test.numel() == 400 - 20 - 30
    split.check(400)


def test_random():
    split = make_split("random", data(unknown=50), 1, train=0.5, val=0.25)
    assert [ids.numel() for ids in vars(split).values()] == [200, 100, 100, 0]
    split.check(400)


@pytest.mark.parametrize("name", ["cpf", "random", "planetoid_random"])
def test_seeds_draw_and_global_state_is_left_alone(name):
    graph = data(per_class=600)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, same, other = (make_split(name, graph, seed, inductive=True) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert one.fingerprints() == same.fingerprints()
    assert all(one.fingerprints()[part] != other.fingerprints()[part] for part in ("train", "val", "test", "ind"))


def test_inductive_is_the_permutation_of_the_seeded_generator():
    base = make_split("random", data(), 11)
    split = make_split("random", data(), 11, inductive=True, ind_rate=0.3)
    torch.manual_seed(11)
    order = torch.randperm(base.test.numel())
    cut = int(0.3 * base.test.numel())
    assert torch.equal(split.ind, base.test[order[:cut]])
    assert torch.equal(split.test, base.test[order[cut:]])
    assert split.inductive and not base.inductive
    whole = make_split("random", data(), 11, inductive=True, ind_rate=1.0)
    assert (whole.test.numel(), whole.ind.numel()) == (0, base.test.numel())


def test_multi_label_targets_split_at_random():
    y = torch.randint(2, (50, 3)).float()
    y[:10] = -1
    split = make_split("random", Data(y=y), 0)
    assert int(torch.cat([split.train, split.val, split.test]).min()) >= 10
    with pytest.raises(DataError, match="one class a node"):
        make_split("cpf", Data(y=y), 0)


@pytest.mark.parametrize(
    ("name", "options", "kind", "words"),
    [
        ("cpf2", {}, ConfigError, ["cpf2", "cpf"]),
        ("cpf", dict(train_per_clas=3), ConfigError, ["train_per_clas", "train_per_class"]),
        ("cpf", dict(train_per_class=90), DataError, ["Class 0", "10 nodes left"]),
        ("cpf", dict(train_per_class=60, val_per_class=40), DataError, ["empty test"]),
        ("cpf", dict(train_per_class=0), DataError, ["empty train"]),
        ("cpf", dict(inductive=True, ind_rate=0), ConfigError, ["ind_rate=0"]),
        ("cpf", dict(inductive=True, ind_rate=0.001), DataError, ["holds out no node"]),
        ("random", dict(train=0.8, val=0.2), ConfigError, ["val=0.2"]),
        ("random", dict(val=0.001), DataError, ["empty val"]),
        ("planetoid_random", dict(num_val=500), DataError, ["320", "500"]),
        ("planetoid_random", dict(num_val=320, num_test=None), DataError, ["320"]),
        ("public", {}, DataError, ["train_mask"]),
    ],
)
def test_bad_splits_are_named(name, options, kind, words, one_paragraph):
    with pytest.raises(kind) as error:
        make_split(name, data(), 0, **options)
    one_paragraph(error, *words)


def test_check_finds_overlap_and_range():
    ids = torch.arange(3)
    with pytest.raises(DataError, match="twice"):
        Split(ids, ids + 2, ids + 6).check(20)
    with pytest.raises(DataError, match="0 to 8"):
        Split(ids, ids + 3, ids + 6).check(8)
