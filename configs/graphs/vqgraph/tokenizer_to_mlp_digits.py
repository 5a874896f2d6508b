_base_ = "../../_base_/graphs/digits.py"
title = "VQGraph on the digits graph"
run = ["plain", "tokenizer", "vqgraph"]
