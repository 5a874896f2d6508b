# vmoe_cifar10_small.py on Tiny-ImageNet ($STRUCTKD_DATA/images/tiny_imagenet_100.tar.gz): 25 pictures a class in two
# augmented views, patches of 16 x 16 pixels.
_base_ = "vmoe_cifar10_small.py"
title = "Module by module, small: a transformer teaches a mixture of experts, 25 images a class of Tiny-ImageNet"
data = dict(
    dataset=dict(root="$STRUCTKD_DATA/images/tiny_imagenet_100.tar.gz"),
    splits=dict(test="val"),
    protocol=dict(per_class=25),
    augment=[dict(type="RandomCrop", padding=8), dict(type="HorizontalFlip")],
    views=2,
)

_patches = dict(model=dict(patch_size=16))
_patches_of_source = dict(model=dict(source=dict(patch_size=16)))
stages = dict(teacher=_patches, plain=_patches, longer=_patches, m2mkd_stitched=_patches_of_source)
for _i in range(4):
    stages[f"pair_{_i}"] = _patches_of_source
