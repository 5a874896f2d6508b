# The methods that cnn_to_vit_digits.py leaves out, on the same images and in the same recipe.
_base_ = "../../_base_/images/digits.py"
title = "A convolutional network teaches a transformer: handwritten digits, further relatives"
run = [
    "teacher",
    "plain",
    "kd",
    "attention_transfer",
    "cc",
    "crd",
    "dist",
    "hkd",
    "irg",
    "lsp",
    "review_kd",
    "srrl",
    "vid",
]
