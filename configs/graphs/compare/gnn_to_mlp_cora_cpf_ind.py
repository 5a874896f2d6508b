_base_ = "../../_base_/graphs/cora_cpf.py"
title = "GNN-to-MLP distillation on Cora, protocol cpf, inductive"
data = dict(protocol=dict(inductive=True))
