# The local loss alone, in the form that pulls all tokens together and in the default's: see README.md.
_base_ = "../../_base_/images/digits.py"
title = "TRG's local loss alone on handwritten digits, 20 epochs"
run = ["teacher", "kd", "graph", "token", "trg_local"]
seeds = [0, 1, 2]

stages = dict(
    teacher=dict(param_scheduler=dict(T_max=20), train_cfg=dict(max_epochs=20)),
    plain=dict(param_scheduler=dict(T_max=20), train_cfg=dict(max_epochs=20)),
    graph=dict(
        like="trg_local",
        title="ViT, KD + local loss: unit of the whole graph, tau 1, weight 50",
        method="TRG",
        role="distilled",
        distillers=dict(trg=dict(sigma_unit="graph", local_tau=1.0, local_weight=50.0)),
    ),
    token=dict(
        like="trg_local",
        title="ViT, KD + local loss: unit of each token, tau 1, weight 50",
        method="TRG",
        role="distilled",
        distillers=dict(trg=dict(local_tau=1.0, local_weight=50.0)),
    ),
    trg_local=dict(title="ViT, KD + local loss: default (unit of each token, tau 0.1, weight 0.3)"),
)
