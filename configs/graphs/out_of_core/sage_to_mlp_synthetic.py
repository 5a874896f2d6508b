# GNN-to-MLP distillation on a graph that is never in memory: features, edges and the teacher's outputs stay in mapped
# files. The graph is written on first use; --cfg-options data.dataset.size=products for 2.4 M nodes and 62 M edges, or
# data.dataset="dict(type='disk_graph',path='FOLDER')" for a folder of one's own.
title = "GLNN and FF-G2M on a synthetic graph on disk"
seeds = [0, 1, 2]
data = dict(
    type="DiskNodeTask",
    dataset=dict(
        type="synthetic_disk_graph",
        root="data/graphs_on_disk",
        size=None,
        num_nodes=2000,
        num_edges=20000,
        num_features=32,
        num_classes=5,
    ),
    protocol=dict(name="given"),
    targets=dict(reduction="edge", low_tau=1.0),  # of the FFG2M below
)

_adam = dict(optimizer=dict(type="Adam", lr=0.01))
_teacher = dict(teacher=dict(stage="teacher"))

stages = dict(
    teacher=dict(
        title="SAGE",
        role="teacher",
        model=dict(type="GraphSAGE", num_layers=2, hidden_channels=64, dropout=0.3, aggregator="gcn"),
        adapter=dict(inputs=["x", "edge_index"]),
        train_dataloader=dict(type="NodeBatches", seeds="train", batch_size=512, fanouts=[10, 10]),
        optim_wrapper=_adam,
        train_cfg=dict(max_epochs=40, val_interval=4),  # a validation is a pass over the whole graph
        selection=dict(patience=4),
    ),
    plain=dict(
        title="MLP",
        role="plain",
        model=dict(type="MLP", num_layers=2, hidden_channels=64, dropout=0.3),
        adapter=dict(inputs=["x"]),
        train_dataloader=dict(type="NodeBatches", seeds="train", batch_size=512),
        optim_wrapper=_adam,
        train_cfg=dict(max_epochs=40, val_interval=1),
        selection=dict(patience=20),
    ),
    glnn=dict(
        like="plain",
        title="MLP, GLNN",
        method="GLNN",
        role="distilled",
        train_dataloader=dict(seeds="all"),
        objective_weight=0.0,
        teachers=_teacher,
        distillers=dict(glnn=dict(type="GLNN")),
    ),
    ffg2m_low=dict(
        like="plain",
        title="MLP, FF-G2M, low frequency",
        method="FF-G2M",
        role="distilled",
        train_dataloader=dict(seeds="all"),
        objective_weight=0.1,
        teachers=_teacher,
        distillers=dict(ffg2m=dict(type="FFG2M", high_weight=0.0, weight=0.9)),
    ),
)
