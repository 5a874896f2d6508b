_base_ = "../../_base_/graphs/citeseer_cpf.py"
title = "GNN-to-MLP distillation on CiteSeer, protocol cpf, inductive"
data = dict(protocol=dict(inductive=True))
