# The protocol of FF-G2M, KRD, HGMD and AdaGMLP: public masks on citation graphs (20 labels a class, 500 validation and
# 1,000 test nodes, drawn at random elsewhere), row-normalised features, full batches, 500 epochs, patience 50.
# A data set's file adds `data` and FF-G2M's published numbers; every student is `like` `plain`.
seeds = [2022, 2023, 2024, 2025, 2026]

_adam = dict(optimizer=dict(type="Adam", lr=0.01, weight_decay=5e-4))
_epochs = dict(max_epochs=500, val_interval=1)
_selection = dict(patience=50, ties="latest")
_teacher = dict(teacher=dict(stage="teacher"))

stages = dict(
    teacher=dict(
        title="GCN",
        role="teacher",
        model=dict(type="GCN"),
        adapter=dict(inputs=["x", "edge_index"], taps=dict(x="acts.0"), expose_input=True),  # KRD perturbs the input
        optim_wrapper=_adam,
        train_cfg=_epochs,
        selection=_selection,
    ),
    plain=dict(
        title="MLP",
        role="plain",
        model=dict(type="MLP"),
        adapter=dict(inputs=["x"], taps=dict(hidden="lins.0")),
        optim_wrapper=_adam,
        train_cfg=_epochs,
        selection=_selection,
    ),
    glnn=dict(
        like="plain",
        title="MLP, GLNN",
        method="GLNN",
        role="distilled",
        objective_weight=0.0,
        teachers=_teacher,
        distillers=dict(glnn=dict(type="GLNN")),
    ),
    ffg2m=dict(
        like="plain",
        title="MLP, FF-G2M",
        method="FF-G2M",
        role="distilled",
        teachers=_teacher,
        distillers=dict(ffg2m=dict(type="FFG2M")),
    ),
    ffg2m_low=dict(
        like="ffg2m",
        title="MLP, FF-G2M, low frequency only",
        method="FF-G2M",
        role="distilled",
        distillers=dict(ffg2m=dict(high_weight=0.0)),
    ),
    ffg2m_high=dict(
        like="ffg2m",
        title="MLP, FF-G2M, high frequency only",
        method="FF-G2M",
        role="distilled",
        distillers=dict(ffg2m=dict(low_weight=0.0)),
    ),
    krd=dict(
        like="plain",
        title="MLP, KRD",
        method="KRD",
        role="distilled",
        objective_weight=0.0,
        teachers=_teacher,
        distillers=dict(krd=dict(type="KRD")),
    ),
    hgmd=dict(
        like="plain",
        title="MLP, HGMD (mixup)",
        method="HGMD",
        role="distilled",
        teachers=_teacher,
        distillers=dict(hgmd=dict(type="HGMD", scheme="mixup")),
    ),
)
