_base_ = "public.py"
data = dict(
    type="NodeTask",
    dataset=dict(type="planetoid_graph", name="CiteSeer", sparse=True, root="$STRUCTKD_DATA/graphs"),
    protocol=dict(name="public"),
    transforms=["row_normalize"],
)
# FF-G2M's published numbers for a GCN teacher (its code swaps the two dropouts, here each stands where it acts) and
# HGMD's. KRD's are its defaults.
stages = dict(
    teacher=dict(model=dict(num_layers=2, hidden_channels=256, dropout=0.5)),
    plain=dict(model=dict(num_layers=2, hidden_channels=256, dropout=0.5)),
    ffg2m=dict(objective_weight=0.1, distillers=dict(ffg2m=dict(tau=1.5, weight=0.9))),
    hgmd=dict(objective_weight=0.0, distillers=dict(hgmd=dict(weight=1.0, tau=1.1, alpha=5.0, beta=0.4))),
)
