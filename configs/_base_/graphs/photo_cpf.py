_base_ = "cpf.py"
data = dict(
    type="NodeTask",
    dataset=dict(type="cpf_graph", name="photo", sparse=True, root="$STRUCTKD_DATA/graphs"),
    protocol=dict(name="cpf", inductive=False),
    positions=dict(dim=64),
)
stages = dict(
    plain=dict(model=dict(dropout=0.3), optim_wrapper=dict(optimizer=dict(lr=0.005, weight_decay=0.002))),
)
