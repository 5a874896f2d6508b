# scikit-learn's handwritten digits as 8 x 8 images: no download, 1,347 to train on (a tenth of them validates), 450 to
# test, mostly by other writers. A convolutional teacher, and a small transformer that has seen no image before.
data = dict(
    type="ImageTask",
    dataset=dict(type="digit_images"),
    protocol=dict(name="holdout"),
    augment=[dict(type="RandomCrop", padding=1)],
    latency_batches=[1, 128],
)
seeds = [0, 1, 2]

_loader = dict(batch_size=64)
_student = dict(type="ViT", preset="mini", width=32, depth=3, heads=4, patch_size=2)
_taught = dict(teacher=dict(stage="teacher"))
_channels = dict(student_channels=32, teacher_channels=64)

# Every student is trained equally long from the same initialisation, by labels and by soft labels (KD); relation
# methods are added to these two, since TRG contains them.
stages = dict(
    teacher=dict(
        title="ConvNet",
        role="teacher",
        model=dict(type="ConvNet", layers=2),
        adapter=dict(maps=dict(tokens="layer2"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=60),
        train_cfg=dict(max_epochs=60),
    ),
    plain=dict(
        title="ViT",
        role="plain",
        model=_student,
        adapter=dict(maps=dict(tokens="norm"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.002, weight_decay=0.05)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=60),
        train_cfg=dict(max_epochs=60),
    ),
    kd=dict(
        like="plain",
        title="ViT, KD",
        method="KD",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="KD", weight=0.9)),
    ),
    trg=dict(
        like="kd",
        title="ViT, KD + TRG",
        method="TRG",
        role="distilled",
        distillers=dict(trg=dict(type="TRG", **_channels)),
    ),
    trg_local=dict(
        like="trg",
        title="ViT, KD + TRG, local loss alone",
        method="TRG",
        role="distilled",
        distillers=dict(trg=dict(global_weight=0.0, contextual_weight=0.0)),
    ),
    trg_global=dict(
        like="trg",
        title="ViT, KD + TRG, global loss alone",
        method="TRG",
        role="distilled",
        distillers=dict(trg=dict(local_weight=0.0, contextual_weight=0.0)),
    ),
    trg_contextual=dict(
        like="trg",
        title="ViT, KD + TRG, contextual loss alone",
        method="TRG",
        role="distilled",
        distillers=dict(trg=dict(local_weight=0.0, global_weight=0.0)),
    ),
    rkd=dict(
        like="kd",
        title="ViT, KD + RKD",
        method="RKD",
        role="distilled",
        distillers=dict(
            rkd=dict(type="RKD", field="embedding", distance_weight=25.0, angle_weight=50.0),
        ),
    ),
    similarity=dict(
        like="kd",
        title="ViT, KD + SP",
        method="SP",
        role="distilled",
        distillers=dict(sp=dict(type="SimilarityPreserving", field="embedding", weight=3000.0)),
    ),
    pkt=dict(
        like="kd",
        title="ViT, KD + PKT",
        method="PKT",
        role="distilled",
        distillers=dict(pkt=dict(type="PKT", weight=30000.0)),
    ),
    fitnet=dict(
        like="kd",
        title="ViT, KD + FitNet",
        method="FitNet",
        role="distilled",
        distillers=dict(hint=dict(type="FitNet", field="tokens", **_channels)),
    ),
    dkd=dict(
        like="plain",
        title="ViT, DKD",
        method="DKD",
        role="distilled",
        teachers=_taught,
        distillers=dict(dkd=dict(type="DKD", warm_up=10)),
    ),
)
