# scikit-learn's 1,797 handwritten digits, each a graph of its inked pixels, joined to their 8 neighbours; no download.
# A node knows its brightness, not where it is: the shape of a digit is in the edges alone. The student is a GA-MLP,
# which reads brightness averaged over 0 to 10 hops. 50 graphs a class train, 300 select, the rest tests.
data = dict(
    type="GraphTask",
    dataset=dict(type="digit_graphs"),
    protocol=dict(name="planetoid_random", train_per_class=50, num_val=300, num_test=None),
    columns=[0],
    augment=10,
)
seeds = [0, 1, 2, 3, 4]

_training = dict(
    train_dataloader=dict(type="GraphBatches", batch_size=64),
    optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.005)),
)
_mugsi = dict(type="MuGSI", student_channels=64, teacher_channels=64)

stages = dict(
    teacher=dict(
        title="GIN",
        role="teacher",
        model=dict(type="GraphClassifier", conv="gin", num_layers=3, hidden_channels=64, pooling="mean"),
        adapter=dict(inputs=["x", "edge_index", "batch"], fields=["x"]),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=40),
        train_cfg=dict(max_epochs=40, val_interval=1),
        **_training,
    ),
    plain=dict(
        title="GA-MLP",
        role="plain",
        model=dict(type="GraphMLP", in_channels=11, num_layers=3, hidden_channels=64),
        adapter=dict(inputs=["augmented", "batch"], fields=["x"]),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=120),
        train_cfg=dict(max_epochs=120, val_interval=1),
        **_training,
    ),
    soft_label=dict(
        like="plain",
        title="GA-MLP, soft labels only",
        method="MuGSI",
        role="distilled",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(mugsi=dict(graph_weight=0.0, cluster_weight=0.0, node_weight=0.0, **_mugsi)),
    ),
    mugsi=dict(
        like="plain",
        title="GA-MLP, MuGSI",
        method="MuGSI",
        role="distilled",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(mugsi=_mugsi),
    ),
)
