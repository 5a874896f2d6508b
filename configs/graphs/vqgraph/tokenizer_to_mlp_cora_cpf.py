_base_ = "../../_base_/graphs/cora_cpf.py"
title = "VQGraph on Cora, protocol cpf"
run = ["plain", "tokenizer", "vqgraph", "vqgraph_labels"]
