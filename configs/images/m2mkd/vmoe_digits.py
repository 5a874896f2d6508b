# As vit_digits_split.py, with a student of experts: each of its four blocks has four, of which a token sees two (the
# router of the m2mKD authors: top two, then softmax over them, with a bias, nothing dropped, no balance loss).
_base_ = "vit_digits_split.py"
title = "Module by module: a transformer teaches a mixture of experts, handwritten digits"

_experts = dict(
    type="VMoE", experts=4, k=2, moe_blocks="all", mlp_ratio=2.0, router=dict(order="topk_softmax", bias=True)
)
stages = {f"pair_{_i}": dict(model=dict(source=_experts)) for _i in range(4)}
stages |= dict(
    plain=dict(title="V-MoE, end to end, 15 epochs", model=_experts),
    longer=dict(title="V-MoE, end to end, 25 epochs", model=_experts),
    kd=dict(title="V-MoE, KD"),
    m2mkd=dict(title="V-MoE, m2mKD"),
    m2mkd_reference=dict(title="V-MoE, m2mKD with the reference KL"),
    m2mkd_stitched=dict(title="V-MoE, m2mKD, stitches kept", model=dict(source=_experts)),
)
