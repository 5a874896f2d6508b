_base_ = "../../_base_/graphs/digits.py"
title = "GLNN with a GA-MLP student on the digits graph"
run = ["teacher", "plain", "gamlp"]
data = dict(augment_hops=1)
# A GA-MLP reads features averaged over neighbours: it needs them at inference too, unlike the plain MLP it is beside.
stages = dict(
    gamlp=dict(
        like="plain",
        title="GA-MLP, GLNN",
        method="GLNN",
        role="distilled",
        model=dict(type="GAMLP"),
        adapter=dict(inputs=["augmented"]),
        objective_weight=0.0,
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(glnn=dict(type="GLNN")),
    ),
)
