# Minutes instead of hours: CIFAR-10 ($STRUCTKD_DATA/images/cifar10_jpeg.tar.gz), 500 pictures a class in four augmented
# views, 16 tokens a picture. A ViT of eight blocks, trained as a whole, is the meta model, too; the student has four
# modules of one block, the second and fourth with four experts. For two CPU cores.
_base_ = "vit_digits_split.py"
title = "Module by module, small: a transformer teaches a mixture of experts, 500 images a class of CIFAR-10"
data = dict(
    _delete_=True,
    type="ImageTask",
    dataset=dict(type="folder_images", root="$STRUCTKD_DATA/images/cifar10_jpeg.tar.gz"),
    protocol=dict(name="holdout", per_class=500),
    augment=[dict(type="RandomCrop", padding=4), dict(type="HorizontalFlip")],
    views=4,
    corruptions=dict(severities=[3]),
    latency_batches=[1, 128],
)

_patches = dict(patch_size=8)
_student = dict(type="VMoE", width=48, heads=3, experts=4, k=2, moe_blocks="odd", **_patches)


def _epochs(count):
    return dict(
        optim_wrapper=dict(optimizer=dict(lr=0.001)),
        param_scheduler=dict(T_max=count),
        train_cfg=dict(max_epochs=count),
    )


stages = dict(
    teacher=dict(model=dict(width=96, **_patches), **_epochs(24)),
    plain=dict(title="V-MoE, end to end, 16 epochs", model=_student, **_epochs(16)),
    longer=dict(title="V-MoE, end to end, 24 epochs", model=_student, **_epochs(24)),
    kd=dict(title="V-MoE, KD"),
    m2mkd=dict(title="V-MoE, m2mKD"),
    m2mkd_reference=dict(title="V-MoE, m2mKD with the reference KL"),
    m2mkd_stitched=dict(title="V-MoE, m2mKD, stitches kept", model=dict(source=_student)),
)
for _i in range(4):
    stages[f"pair_{_i}"] = dict(model=dict(source=_student), **_epochs(8))
