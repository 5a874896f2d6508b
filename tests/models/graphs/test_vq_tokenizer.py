import pytest
import torch

from structkd.models import VQTokenizer


def graph(num_nodes=40, channels=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(num_nodes, channels, generator=generator) < 0.3).float()
    return x, torch.randint(num_nodes, (2, 160), generator=generator)


@pytest.mark.parametrize("code_channels", [None, 6])
def test_fields_shapes_and_the_published_wiring(code_channels):
    x, edge_index = graph()
    model = VQTokenizer(12, 8, 3, num_codes=10, dropout=0.5, code_channels=code_channels).eval()
    out = model(x, edge_index)
    width = code_channels or 12
    shapes = {name: tuple(value.shape) for name, value in out.items() if name != "losses"}
    assert shapes == {
        "logits": (40, 3),
        "x": (40, width),
        "hidden": (40, width),
        "codes": (40,),
        "node_recon": (40, width),
        "edge_emb": (40, width),
        "codebook": (10, width),
    }
    h = model.convs[0](x, edge_index).relu()
    q = model.codebook.codes[model.codebook.assign(h)]
    torch.testing.assert_close(out["hidden"], h)
    torch.testing.assert_close(out["edge_emb"], model.edge_decoder(q))
    torch.testing.assert_close(out["node_recon"], model.node_decoder(q))
    # The classifier reads the decoded codes, not the codes.
    torch.testing.assert_close(out["logits"], model.head(model.convs[1](out["edge_emb"], edge_index).relu()))
    assert torch.equal(out["codebook"], model.codebook.codes)


def test_every_parameter_learns_and_sparse_features_do():
    x, edge_index = graph()
    model = VQTokenizer(12, 8, 3, num_codes=10, code_channels=6, codebook={"init": "kmeans", "mode": "reference"})
    out = model(x.to_sparse_csr(), edge_index)
    loss = out["logits"].square().mean() + (out["hidden"] - out["node_recon"]).square().mean()
    (loss + out["losses"]["commitment"]).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    torch.testing.assert_close(out["losses"]["commitment"].detach() > 0, torch.tensor(True))


def test_training_moves_codes_and_reset_forgets():
    x, edge_index = graph()
    model = VQTokenizer(12, 8, 3, num_codes=10)
    before = model.codebook.codes.clone()
    model(x, edge_index)
    assert not torch.equal(before, model.codebook.codes)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.reset_parameters()
    assert not torch.equal(state["convs.0.lin.weight"], model.convs[0].lin.weight)
    assert not torch.equal(state["codebook.codes"], model.codebook.codes)


def test_empty_graph():
    out = VQTokenizer(12, 8, 3, num_codes=4)(torch.zeros(0, 12), torch.zeros(2, 0, dtype=torch.long))
    assert out["logits"].shape == (0, 3) and out["losses"]["commitment"] == 0
