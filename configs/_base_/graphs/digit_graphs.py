# scikit-learn's 1,797 handwritten digits, each a graph of its inked pixels (brightness, row and column; edges to the 8
# neighbours). 30 graphs a class train, 300 select, the rest tests. No download.
data = dict(
    type="GraphTask",
    dataset=dict(type="digit_graphs"),
    protocol=dict(name="planetoid_random", train_per_class=30, num_val=300, num_test=None),
)
seeds = [0, 1, 2, 3, 4]

_adam = dict(optimizer=dict(type="Adam", lr=0.01))
_batches = dict(type="GraphBatches", batch_size=64)
_epochs = dict(max_epochs=60, val_interval=1)

stages = dict(
    teacher=dict(
        title="GIN",
        role="teacher",
        model=dict(type="GraphClassifier", conv="gin", num_layers=3, hidden_channels=64),
        adapter=dict(inputs=["x", "edge_index", "batch"], fields=["x"]),
        train_dataloader=_batches,
        optim_wrapper=_adam,
        train_cfg=_epochs,
    ),
    plain=dict(
        title="MLP",
        role="plain",
        model=dict(type="GraphMLP", num_layers=3, hidden_channels=64),
        adapter=dict(inputs=["x", "batch"], fields=["x"]),
        train_dataloader=_batches,
        optim_wrapper=_adam,
        train_cfg=_epochs,
    ),
    soft_labels=dict(
        like="plain",
        title="MLP, soft labels only",
        method="MuGSI",
        role="distilled",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(
            mugsi=dict(
                type="MuGSI",
                student_channels=64,
                teacher_channels=64,
                graph_weight=0.0,
                cluster_weight=0.0,
                node_weight=0.0,
            )
        ),
    ),
    mugsi=dict(
        like="plain",
        title="MLP, MuGSI",
        method="MuGSI",
        role="distilled",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(mugsi=dict(type="MuGSI", student_channels=64, teacher_channels=64)),
    ),
)
