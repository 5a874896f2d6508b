# scikit-learn's handwritten digits as 8 x 8 images: no download, 1,347 to train on (a tenth of them validates), 450 to
# test, mostly by other writers. A convolutional teacher, and a small transformer that has seen no image before.
_base_ = "methods.py"
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
_tokens = dict(student_channels=32, teacher_channels=64)
_embedding = dict(student_channels=32, teacher_channels=128)
# Memory banks have a row for each training image.
_bank = dict(**_embedding, num_data=1347, negatives=1024)

stages = dict(
    teacher=dict(
        title="ConvNet",
        model=dict(type="ConvNet", layers=2),
        adapter=dict(maps=dict(tokens="layer2"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=60),
        train_cfg=dict(max_epochs=60),
    ),
    plain=dict(
        title="ViT",
        model=_student,
        adapter=dict(maps=dict(tokens="norm"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.002, weight_decay=0.05)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=60),
        train_cfg=dict(max_epochs=60),
    ),
    cnn=dict(
        title="CNN",
        model=dict(type="ConvNet", channels=[8, 16]),
        adapter=dict(maps=dict(tokens="layer2"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.002, weight_decay=0.05)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=60),
        train_cfg=dict(max_epochs=60),
    ),
    trg=dict(distillers=dict(trg=_tokens)),
    cnn_trg=dict(distillers=dict(trg=dict(student_channels=16, teacher_channels=64))),
    fitnet=dict(distillers=dict(hint=_tokens)),
    vid=dict(distillers=dict(vid=_tokens)),
    attention_transfer=dict(distillers=dict(at=dict(weight=1000 / 16))),
    crd=dict(distillers=dict(crd=_bank)),
    hkd=dict(distillers=dict(hkd=_bank)),
    srrl=dict(
        teachers=dict(teacher=dict(adapter=dict(vectors=dict(embedding="pool"), classifier="fc"))),
        distillers=dict(srrl=_embedding),
    ),
    review_kd=dict(
        adapter=dict(maps=dict(early="blocks.0")),
        teachers=dict(teacher=dict(adapter=dict(maps=dict(early="layer1", tokens="layer2")))),
        distillers=dict(review=dict(student_channels=[32, 32], teacher_channels=[32, 64], warm_up=10)),
    ),
    dkd=dict(distillers=dict(dkd=dict(warm_up=10))),
)
