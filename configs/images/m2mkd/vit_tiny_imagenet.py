# Tiny-ImageNet (200 classes), $STRUCTKD_DATA/images/tiny_imagenet_100.tar.gz: teacher and student of vit_cifar10.py on
# patches twice as large. Meant for a GPU.
_base_ = "vit_cifar10.py"
title = "Module by module: a transformer teaches a mixture of experts, Tiny-ImageNet (200 classes)"
data = dict(
    dataset=dict(root="$STRUCTKD_DATA/images/tiny_imagenet_100.tar.gz"),
    splits=dict(test="val"),
    augment=[dict(type="RandomCrop", padding=8), dict(type="HorizontalFlip")],
)

_patches = dict(model=dict(patch_size=8))
_patches_of_source = dict(model=dict(source=dict(patch_size=8)))
stages = dict(
    meta=_patches,
    teacher=_patches,
    plain=_patches,
    longer=_patches,
    m2mkd_stitched=_patches_of_source,
)
for _i in range(4):
    stages[f"incubate_{_i}"] = _patches_of_source
    stages[f"pair_{_i}"] = _patches_of_source
