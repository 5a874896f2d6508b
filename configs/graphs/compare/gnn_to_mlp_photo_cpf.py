_base_ = "../../_base_/graphs/photo_cpf.py"
title = "GNN-to-MLP distillation on Amazon-Photo, protocol cpf"
# NOSMOG's perturbations of dense features would take longer here than all other stages together.
run = ["teacher", "plain", "glnn", "ffg2m", "ffg2m_low", "tokenizer", "vqgraph", "vqgraph_labels", "tined"]
