# The published protocol on CIFAR-100, one of its pairs: a ResNet-32x4 teaches a ResNet-8x4, 240 epochs, each method
# beside labels as in the common benchmark (so without KD, unlike in the other comparisons), with its weights. Reads
# $STRUCTKD_DATA/images/cifar-100-python.tar.gz as published, trains on all 50,000 images and reports the last epoch.
# For a GPU. Another pair of ResNets: --cfg-options stages.teacher.model.depth=56 stages.plain.model.depth=20
title = "The published protocol: ResNet-32x4 teaches ResNet-8x4, CIFAR-100"
data = dict(
    type="ImageTask",
    dataset=dict(type="cifar_images", root="$STRUCTKD_DATA/images/cifar-100-python.tar.gz", num_classes=100),
    protocol=dict(name="holdout", val_share=0.0),
    augment=[dict(type="RandomCrop", padding=4), dict(type="HorizontalFlip")],
    latency_batches=[1, 128],
)
seeds = [0, 1, 2]

_taps = dict(maps=dict(tokens="layer3"), vectors=dict(embedding="pool"))
_both = dict(student_channels=256, teacher_channels=256)
stages = dict(
    teacher=dict(
        title="ResNet-32x4",
        role="teacher",
        model=dict(type="ResNet", depth="32x4"),
        adapter=_taps,
        train_dataloader=dict(batch_size=64),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)),
        param_scheduler=dict(type="MultiStepLR", milestones=[150, 180, 210], gamma=0.1),
        train_cfg=dict(max_epochs=240),
    ),
)
stages["plain"] = dict(like="teacher", title="ResNet-8x4", role="plain", model=dict(depth="8x4"))

_methods = dict(
    kd=("KD", dict(type="KD", weight=0.9)),
    fitnet=("FitNet", dict(type="FitNet", field="tokens", weight=100.0, **_both)),
    attention_transfer=("AT", dict(type="AttentionTransfer", field="tokens", weight=1000 / 64)),
    similarity=("SP", dict(type="SimilarityPreserving", field="tokens", weight=3000.0)),
    cc=("CC", dict(type="CC", variant="repdistiller", weight=0.02, **_both)),
    vid=("VID", dict(type="VID", field="tokens", **_both)),
    rkd=("RKD", dict(type="RKD", field="embedding", elements=64, distance_weight=25.0, angle_weight=50.0)),
    pkt=("PKT", dict(type="PKT", weight=30000.0)),
    crd=("CRD", dict(type="CRD", weight=0.8, num_data=50000, **_both)),
    dkd=("DKD", dict(type="DKD")),
    dist=("DIST", dict(type="DIST", beta=2.0, gamma=2.0, tau=4.0)),
    trg=("TRG", dict(type="TRG", **_both)),
)
for _name, (_method, _distiller) in _methods.items():
    stages[_name] = dict(
        like="plain",
        title=f"ResNet-8x4, {_method}",
        method=_method,
        role="distilled",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers={_name: _distiller},
    )
stages["kd"]["objective_weight"] = 0.1
