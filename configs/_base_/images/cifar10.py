# CIFAR-10 as re-encoded JPEG pictures in one folder a class ($STRUCTKD_DATA/images/cifar10_jpeg.tar.gz): 2,000 to train
# on (a tenth of them validates) and 500 to test a class. A ResNet-20 teaches a small transformer and a small CNN. The
# teacher's outputs are stored for eight augmented views of each image.
_base_ = "methods.py"
data = dict(
    type="ImageTask",
    dataset=dict(type="folder_images", root="$STRUCTKD_DATA/images/cifar10_jpeg.tar.gz"),
    protocol=dict(name="holdout"),
    augment=[dict(type="RandomCrop", padding=4), dict(type="HorizontalFlip")],
    views=8,
    latency_batches=[1, 128],
)
seeds = [0, 1, 2]

_loader = dict(batch_size=128)
_embedding = dict(student_channels=64, teacher_channels=64)
# Memory banks have a row for each view of each image of the data set.
_bank = dict(**_embedding, num_data=8 * 25000)

stages = dict(
    teacher=dict(
        title="ResNet-20",
        model=dict(type="ResNet", depth="20"),
        adapter=dict(maps=dict(tokens="layer3"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=60),
        train_cfg=dict(max_epochs=60),
    ),
    plain=dict(
        title="ViT",
        model=dict(type="ViT", preset="nano", heads=4, patch_size=4),
        adapter=dict(maps=dict(tokens="norm"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.05)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=100),
        train_cfg=dict(max_epochs=100),
    ),
    cnn=dict(
        title="CNN",
        model=dict(type="ConvNet", channels=[16, 32, 64]),
        adapter=dict(maps=dict(tokens="layer3"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=100),
        train_cfg=dict(max_epochs=100),
    ),
    trg=dict(distillers=dict(trg=_embedding)),
    cnn_trg=dict(distillers=dict(trg=_embedding)),
    rkd=dict(distillers=dict(rkd=dict(elements=128))),  # the whole batch, as published
    cnn_rkd=dict(distillers=dict(rkd=dict(elements=128))),
    fitnet=dict(distillers=dict(hint=_embedding)),
    vid=dict(distillers=dict(vid=_embedding)),
    attention_transfer=dict(distillers=dict(at=dict(weight=1000 / 64))),
    crd=dict(distillers=dict(crd=_bank)),
    hkd=dict(distillers=dict(hkd=_bank)),
    srrl=dict(
        teachers=dict(teacher=dict(adapter=dict(vectors=dict(embedding="pool"), classifier="fc"))),
        distillers=dict(srrl=_embedding),
    ),
    review_kd=dict(
        adapter=dict(maps=dict(early="blocks.1")),
        teachers=dict(teacher=dict(adapter=dict(maps=dict(early="layer2", tokens="layer3")))),
        distillers=dict(review=dict(student_channels=[64, 64], teacher_channels=[32, 64])),
    ),
)
