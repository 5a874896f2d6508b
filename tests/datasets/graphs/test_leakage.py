"""What training must not see changes nothing in what training gets."""

import copy

import torch

from structkd.datasets import NodeData, node_positions

WALKS = dict(dim=4, walk_length=6, walks_per_node=2, window=2)


def with_labels_turned(nodes):
    graph = copy.copy(nodes.graph)
    graph.y = (graph.y + 1) % 3
    graph.y[nodes.split.train] = nodes.graph.y[nodes.split.train]
    return NodeData(graph, nodes.split)


def with_held_out_nodes_changed(nodes):
    """Other features and labels of held-out nodes, and other edges at them."""
    graph, held_out = copy.copy(nodes.graph), nodes.split.ind
    graph.x, graph.y = graph.x.clone(), graph.y.clone()
    graph.x[held_out] = 1e6
    graph.y[held_out] = 0
    touching = torch.isin(graph.edge_index, held_out).any(0)
    new = torch.stack([held_out, held_out.roll(1)])
    graph.edge_index = torch.cat([graph.edge_index[:, ~touching], new, new.flip(0)], 1)
    return NodeData(graph, nodes.split)


def test_labels_outside_train_change_no_batch(nodes, loader_kind, same_batches):
    turned = with_labels_turned(nodes)
    assert not torch.equal(turned.graph.y, nodes.graph.y)
    same_batches(loader_kind.make(turned), loader_kind.make(nodes))


def test_held_out_nodes_and_edges_change_no_batch(inductive, loader_kind, same_batches):
    changed = with_held_out_nodes_changed(inductive)
    assert not torch.equal(changed.graph.edge_index, inductive.graph.edge_index)
    for batch in loader_kind.make(changed):
        assert not bool(torch.isin(batch.n_id, inductive.split.ind).any())
    same_batches(loader_kind.make(changed), loader_kind.make(inductive))


def test_held_out_edges_change_no_position_of_an_observed_node(inductive):
    changed = with_held_out_nodes_changed(inductive)
    ours, theirs = node_positions(inductive, **WALKS), node_positions(changed, **WALKS)
    seen = inductive.observed.n_id
    assert torch.equal(ours[seen], theirs[seen])
    assert not torch.equal(ours[inductive.split.ind], theirs[inductive.split.ind])
