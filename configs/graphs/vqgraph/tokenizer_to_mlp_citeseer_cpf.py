_base_ = "../../_base_/graphs/citeseer_cpf.py"
title = "VQGraph on CiteSeer, protocol cpf"
run = ["plain", "tokenizer", "vqgraph", "vqgraph_labels"]
