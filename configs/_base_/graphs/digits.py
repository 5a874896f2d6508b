# scikit-learn's handwritten digits as a kNN graph: no download, 1,797 nodes, 64 features, 10 classes, few labels.
# Every method's stage for these data; a method's own config chooses stages with `run`.
data = dict(
    type="NodeTask",
    dataset=dict(type="digits_graph", k=8),
    protocol=dict(name="planetoid_random", train_per_class=5, num_val=300, num_test=None),
)
seeds = [0, 1, 2]

_adam = dict(optimizer=dict(type="Adam", lr=0.01, weight_decay=5e-4))
_epochs = dict(max_epochs=200, val_interval=1)

stages = dict(
    teacher=dict(
        title="GCN",
        role="teacher",
        model=dict(type="GCN", num_layers=2, hidden_channels=64, dropout=0.5),
        adapter=dict(inputs=["x", "edge_index"], taps=dict(hidden="acts.0")),
        optim_wrapper=_adam,
        train_cfg=_epochs,
        selection=dict(patience=50),
    ),
    plain=dict(
        title="MLP",
        role="plain",
        model=dict(type="MLP", num_layers=2, hidden_channels=128, dropout=0.5),
        adapter=dict(inputs=["x"], taps=dict(hidden="lins.0")),
        optim_wrapper=_adam,
        train_cfg=_epochs,
        selection=dict(patience=50),
    ),
    glnn=dict(
        like="plain",
        title="MLP, GLNN",
        method="GLNN",
        role="distilled",
        objective_weight=0.0,
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(glnn=dict(type="GLNN")),
    ),
    ffg2m=dict(
        like="plain",
        title="MLP, FF-G2M",
        method="FF-G2M",
        role="distilled",
        objective_weight=0.1,
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(ffg2m=dict(type="FFG2M", tau=1.2, weight=0.9)),
    ),
    tokenizer=dict(
        title="VQGraph tokenizer (GCN)",
        role="auxiliary",
        model=dict(
            type="VQTokenizer",
            hidden_channels=64,
            dropout=0.5,
            code_channels=64,
            num_codes=128,
            codebook=dict(init="kmeans", revive_below=0.01),
        ),
        adapter=dict(inputs=["x", "edge_index"], fields=["hidden", "codes", "node_recon", "edge_emb", "codebook"]),
        distillers=dict(reconstruction=dict(type="VQGraphTokenizer")),
        optim_wrapper=_adam,
        train_cfg=_epochs,
        selection=dict(patience=50),
    ),
    vqgraph=dict(
        like="plain",
        title="MLP, VQGraph",
        method="VQGraph",
        role="distilled",
        adapter=dict(taps=dict(x="drops.0")),
        objective_weight=0.0,
        teachers=dict(tokenizer=dict(stage="tokenizer")),
        distillers=dict(vqgraph=dict(type="VQGraph", student_channels=128, teacher_channels=64)),
    ),
)
