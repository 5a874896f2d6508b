# The protocol of GLNN, NOSMOG, VQGraph and TINED: SAGE teacher, two-layer MLPs, 200 epochs, patience 50, best
# validation accuracy with ties to the latest epoch. A data set's file adds `data` and its published numbers to `plain`,
# and every student is `like` it.
seeds = [0, 1, 2, 3, 4]

_epochs = dict(max_epochs=200, val_interval=1)
_selection = dict(patience=50, ties="latest")
_teacher = dict(teacher=dict(stage="teacher"))

stages = dict(
    teacher=dict(
        title="SAGE",
        role="teacher",
        model=dict(type="GraphSAGE", num_layers=2, hidden_channels=128, dropout=0.0, aggregator="gcn"),
        adapter=dict(inputs=["x", "edge_index"], taps=dict(hidden="acts.0")),
        train_dataloader=dict(type="NodeBatches", seeds="train", batch_size=512, fanouts=[5, 5]),
        optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.01, weight_decay=5e-4)),
        train_cfg=_epochs,
        selection=_selection,
    ),
    plain=dict(
        title="MLP",
        role="plain",
        model=dict(type="MLP", num_layers=2, hidden_channels=128),
        adapter=dict(inputs=["x"], taps=dict(hidden="lins.0")),
        train_dataloader=dict(type="NodeBatches", seeds="train", batch_size=512),
        optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.01, weight_decay=5e-4)),
        train_cfg=_epochs,
        selection=_selection,
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
    ffg2m=dict(
        like="plain",
        title="MLP, FF-G2M",
        method="FF-G2M",
        role="distilled",
        train_dataloader=dict(seeds="all"),
        objective_weight=0.1,
        teachers=_teacher,
        distillers=dict(ffg2m=dict(type="FFG2M", tau=1.2, weight=0.9)),
    ),
)
