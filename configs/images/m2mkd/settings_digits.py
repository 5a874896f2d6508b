# Learning rate of the digits recipes, chosen by validation accuracy of the student from scratch. Two
# fifths of the images validate, so that a difference is more than a few images; test images play no part.
_base_ = "vit_digits.py"
title = "Learning rates of a small transformer on handwritten digits, by validation"
data = dict(protocol=dict(name="holdout", val_share=0.4))
seeds = [0, 1, 2]

stages = {
    f"lr_{rate}".replace(".", "_"): dict(
        like="plain",
        title=f"lr={rate}",
        role="plain",
        optim_wrapper=dict(optimizer=dict(lr=rate)),
    )
    for rate in (0.0005, 0.001, 0.002, 0.006, 0.01)
}
run = ["plain", *stages]
