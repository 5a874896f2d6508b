# TRG's constants, of which none is published: one at a time around the defaults, chosen by validation accuracy. 50
# images a class train, so that a run takes seconds, and two fifths of all validate, so that a difference is more than a
# few images.
_base_ = "../../_base_/images/digits.py"
title = "TRG's constants on handwritten digits"
data = dict(protocol=dict(name="holdout", val_share=0.4, per_class=50))
seeds = [0, 1, 2]

_changes = dict(
    local_weight_0=dict(local_weight=0.0),
    local_weight_0_1=dict(local_weight=0.1),
    local_weight_1=dict(local_weight=1.0),
    contextual_weight_30=dict(contextual_weight=30.0),
    global_weight_3=dict(global_weight=3.0),
    tau_constant_0_1=dict(tau_schedule="constant", tau=0.1),
    tau_constant_0_5=dict(tau_schedule="constant"),
    local_tau_1_weight_30=dict(local_tau=1.0, local_weight=30.0),
    k_16=dict(k=16),
    k_4=dict(k=4),
    tokens_4=dict(tokens_per_image=4),
    unit_graph=dict(sigma_unit="graph"),
    sigma_0_2=dict(sigma=0.2),
)
stages = dict(
    teacher=dict(param_scheduler=dict(T_max=30), train_cfg=dict(max_epochs=30)),
    plain=dict(param_scheduler=dict(T_max=45), train_cfg=dict(max_epochs=45, val_interval=5)),
    **{
        name: dict(
            like="trg",
            title=", ".join(f"{key}={value}" for key, value in change.items()),
            method="TRG",
            role="distilled",
            distillers=dict(trg=change),
        )
        for name, change in _changes.items()
    },
)
run = ["teacher", "kd", "trg", *_changes]
